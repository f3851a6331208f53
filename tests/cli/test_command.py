"""How a command ends."""

import subprocess
import sys

import pytest

from mmtvr.cli import command
from mmtvr.processes import activity

# What aborts at the interpreter's end stands for a thread of gloo.
ONE_OF_SEVERAL = """
import atexit, multiprocessing, os, sys, time
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
    def end(watchdog, error):
        raise SystemExit(type(error).__name__)

    monkeypatch.setattr(activity, 'doing', doing)
    monkeypatch.setattr(command, 'current_watchdog', lambda: 'a watchdog')
    monkeypatch.setattr(command, '_end_of_several', end)
    with pytest.raises(SystemExit, match=kind):
        command.run_command(lambda: refuse('there'))
