"""How a command ends."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from torch.utils.data import DataLoader, Dataset

from mmtvr.cli import command, index, search
from mmtvr.distributed import VARIABLES, failures
from mmtvr.distributed.phase import phase
from mmtvr.errors import SetupError
from mmtvr.registry import METRICS

# What aborts at the interpreter's end stands for a thread of gloo.
ONE_OF_SEVERAL = """
import atexit, multiprocessing, os, sys, time
os.environ['RANK'] = '0'
from torch import distributed as dist
from mmtvr.cli.command import run_command

def work():
    dist.init_process_group('gloo', init_method='file://' + sys.argv[1],
                            rank=0, world_size=1)
    atexit.register(os.abort)
    worker = multiprocessing.Process(target=time.sleep, args=(600,))
    worker.daemon = True
    worker.start()
    print('worker', worker.pid)

if __name__ == '__main__':
    sys.exit(run_command(work))
"""


def test_a_process_of_several_ends_without_the_end_of_the_interpreter(
    tmp_path,
):
    script = tmp_path / 'one.py'
    script.write_text(ONE_OF_SEVERAL)
    done = subprocess.run(
        [sys.executable, script, tmp_path / 'store'],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    said, pid = done.stdout.split()
    assert said == 'worker'
    assert not is_running(int(pid))


def is_running(pid):
    return (
        subprocess.run(['kill', '-0', str(pid)], check=False).returncode == 0
    )


def refuse(*named):
    raise PermissionError(13, 'Permission denied', *named)


def test_a_refusal_that_names_no_file_is_told_with_its_traceback(capsys):
    with pytest.raises(PermissionError):
        command.run_command(refuse)
    assert command.run_command(lambda: refuse('there')) == 1
    assert "not allowed: [Errno 13] Permission denied: 'there'" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ('doing', 'kind'),
    [('starting', 'SetupError'), ('in training', 'PermissionError')],
)
def test_a_refusal_under_way_is_a_failure_of_its_process(
    doing, kind, monkeypatch
):
    def exit_failed(error, message):
        raise SystemExit(type(error).__name__)

    monkeypatch.setattr(phase, 'name', doing)
    monkeypatch.setattr(failures, 'exit_failed', exit_failed)
    monkeypatch.setenv('RANK', '0')
    monkeypatch.setenv('WORLD_SIZE', '2')
    with pytest.raises(SystemExit, match=kind):
        command.run_command(lambda: refuse('there'))


@pytest.fixture
def no_launcher(monkeypatch):
    for names in VARIABLES.values():
        for name in names:
            monkeypatch.delenv(name, raising=False)
    return monkeypatch


def fail():
    raise SetupError('no videos')


def stop():
    raise KeyboardInterrupt


def test_a_setup_error_is_one_message_and_status_one(no_launcher, capsys):
    assert command.run_command(fail) == 1
    assert capsys.readouterr() == ('', 'error: no videos\n')


def test_a_setup_error_of_a_loader_worker_is_one_message_too(
    no_launcher, capsys
):
    class Broken(Dataset):
        def __len__(self):
            return 1

        def __getitem__(self, index):
            raise SetupError('unreadable video x.mp4')

    def load():
        list(DataLoader(Broken(), num_workers=1))

    assert command.run_command(load) == 1
    assert capsys.readouterr().err == 'error: unreadable video x.mp4\n'


def test_other_ranks_wait_for_the_message_of_the_first(no_launcher, capsys):
    waited = []
    no_launcher.setattr('time.sleep', waited.append)
    no_launcher.setenv('RANK', '2')
    assert command.run_command(fail) == 1
    assert waited == [command.SECONDS_FOR_LAUNCHER]
    assert capsys.readouterr().err == 'error: rank 2: no videos\n'


def test_stopping_says_how_to_go_on(no_launcher, capsys):
    assert command.run_command(stop) == 130
    assert '--resume' in capsys.readouterr().err


def test_success_is_status_zero_and_other_errors_come_through():
    assert command.run_command(lambda: None) == 0
    with pytest.raises(ZeroDivisionError):
        command.run_command(lambda: 1 / 0)


@pytest.mark.parametrize(
    ('error', 'words'),
    [
        (OSError(24, 'Too many open files'), ['ulimit -n', 'go on']),
        (RuntimeError('Too many open files. Communication'), ['ulimit -n']),
        (
            TypeError(
                'class `DataLoader` in torch/utils/data/dataloader.py: '
                "__init__() got an unexpected keyword argument 'batchsize'"
            ),
            ['DataLoader', '`batchsize`'],
        ),
    ],
)
def test_limits_and_misspelt_keys_are_one_message(error, words, capsys):
    def work():
        raise error

    assert command.run_command(work, 'go on') == 1
    shown = capsys.readouterr().err
    assert shown.startswith('error: ')
    assert all(word in shown for word in words)


def test_what_a_component_refuses_is_one_message(capsys):
    def build(**settings):
        return command.run_command(
            lambda: METRICS.build(
                dict(type='mmtvr.TextVideoRecall') | settings
            )
        )

    assert build(ties='best') == 1
    assert 'mmtvr.TextVideoRecall of the config: ' in capsys.readouterr().err
    assert build(topl=(1,)) == 1
    assert "unexpected keyword argument 'topl'" in capsys.readouterr().err
    # A fault of its code, not of the config.
    with pytest.raises(TypeError):
        build(topk=3)


@pytest.mark.parametrize(
    ('command', 'words', 'last'),
    [
        ('prepare_table', 'pairs.csv --videos films OUT', 'output'),
        ('test', 'config.py --work-dir work OUT', 'checkpoint'),
        ('export', 'config.py --into folder OUT', 'checkpoint'),
        ('failures', 'config.py --count 3 OUT', 'checkpoint'),
        ('index', 'config.py --into folder OUT', 'videos'),
        ('search', 'folder --top 3 OUT', 'texts'),
    ],
)
def test_arguments_may_stand_behind_options(command, words, last):
    parse = import_module(f'mmtvr.cli.{command}').parse_args
    found = getattr(parse(words.split()), last)
    assert found in ('OUT', Path('OUT'), ['OUT'])


def test_file_names_that_begin_with_a_dash_are_files(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    name = '-X9P8VE94Po.mp4'
    (tmp_path / name).write_bytes(b'')
    args = search.parse_args(['idx', '--video', name])
    assert args.video == f'./{name}'
    args = index.parse_args(['config.py', name, '--into', 'idx'])
    assert args.videos == [f'./{name}']
    with pytest.raises(SystemExit):
        index.parse_args(['config.py', '-gone.mp4', '--into', 'idx'])
    assert "write './-gone.mp4'" in capsys.readouterr().err
    # An option stays one, also where a file has its name.
    (tmp_path / '--json').write_bytes(b'')
    assert search.parse_args(['idx', 'a dog', '--json']).json
