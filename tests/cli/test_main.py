"""How ``mmtvr`` ends, whichever of its commands was run."""

import argparse
import itertools
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from mmtvr.cli.command import run_command
from mmtvr.cli.main import COMMANDS, main

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}


def start(code, unbuffered):
    """Start an interpreter with pipes."""
    return subprocess.Popen(
        [sys.executable, '-c', code],
        env={**ENVIRONMENT, 'PYTHONUNBUFFERED': unbuffered},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize('unbuffered', ['', '1'])
def test_a_reader_that_is_gone_is_no_error(unbuffered):
    code = (
        'import sys; from mmtvr.cli import main, search\n'
        'def find(argv):\n'
        '    for number in range(100_000): print(number)\n'
        '    return 0\n'
        'search.main = find\n'
        'sys.exit(main.main(["search"]))\n'
    )
    with start(code, unbuffered) as process:
        assert process.stdout.readline() == b'0\n'
        process.stdout.close()
        assert process.stderr.read() == b''
    assert process.returncode == 141


@pytest.mark.parametrize('unbuffered', ['', '1'])
def test_a_reader_that_leaves_before_the_end_is_no_error(unbuffered):
    code = (
        'import sys; from mmtvr.cli import main, search\n'
        'search.main = lambda argv: print("a line") or 0\n'
        'sys.stdin.read()\n'
        'sys.exit(main.main(["search"]))\n'
    )
    with start(code, unbuffered) as process:
        process.stdout.close()
        process.stdin.close()
        assert process.stderr.read() == b''
    assert process.returncode == 141


@pytest.mark.parametrize(
    ('error', 'status', 'told'),
    [
        (KeyboardInterrupt(), 130, 'stopped'),
        (
            RuntimeError('lance: No space left (os error 28), at\nmore'),
            1,
            'error: the disk is full: lance: No space left (os error 28), at. '
            'Make room; again',
        ),
        (
            OSError('LanceError(IO): no space left (os error 28)'),
            1,
            'error: the disk is full: LanceError(IO): no space left (os error '
            '28). Make room; again',
        ),
        (
            PermissionError(13, 'Permission denied', 'there'),
            1,
            "error: not allowed: [Errno 13] Permission denied: 'there'",
        ),
    ],
)
def test_an_end_is_told_in_one_line(error, status, told, monkeypatch, capsys):
    def run(argv):
        if isinstance(error, KeyboardInterrupt):
            raise error
        return run_command(lambda: (_ for _ in ()).throw(error), 'again')

    monkeypatch.setattr('mmtvr.cli.search.main', run)
    assert main(['search']) == status
    assert capsys.readouterr().err == told + '\n'


def test_an_export_that_is_stopped_says_that_it_begins_anew(
    monkeypatch, capsys
):
    def stop(args):
        raise KeyboardInterrupt

    monkeypatch.setattr('mmtvr.cli.index.run', stop)
    assert main(['index', '--into', 'index', '--export', 'out.npz']) == 130
    assert 'the same command starts again' in capsys.readouterr().err


@pytest.mark.parametrize(
    'arguments',
    [
        ['index', '--into', 'index', '--import', 'x.npz', '--parts', '-3'],
        ['index', 'config', 'videos', '--into', 'index', '--workers', '-1'],
        ['search', 'index', 'a', '--top-k', '0'],
        ['search', 'index', 'a', '--candidates', '0'],
    ],
)
def test_a_number_that_is_too_small_is_told_at_once(arguments, capsys):
    with pytest.raises(SystemExit):
        main(arguments)
    told = capsys.readouterr().err.splitlines()[-1]
    name, number = arguments[-2:]
    assert f'argument {name}: {number} is below ' in told


@pytest.mark.parametrize('recall', ['0', '1.5', 'nan'])
def test_a_recall_that_is_no_share_is_told_at_once(recall, capsys):
    with pytest.raises(SystemExit):
        main(['search', 'index', 'a', '--recall', recall])
    assert '--recall is above 0 and at most 1' in capsys.readouterr().err


@pytest.mark.parametrize(
    'name', [*COMMANDS, 'prepare table', 'prepare msrvtt']
)
def test_each_command_helps_with_two_examples_that_it_reads(
    name, capsys, monkeypatch
):
    with pytest.raises(SystemExit) as end:
        main([*name.split(), '--help'])
    assert end.value.code == 0
    told = capsys.readouterr().out
    assert f'usage: mmtvr {name}' in told
    examples = re.findall(
        f'^ +(mmtvr {name} .*)$', told.replace('\\\n', ''), re.M
    )
    examples += re.findall(f'^ +(mmtvr {name})$', told, re.M)
    assert len(examples) >= 2
    parse = argparse.ArgumentParser.parse_args

    def read(parser, argv):
        found = parse(parser, argv)
        # The one that only says which comes next.
        if parser.prog == 'mmtvr prepare':
            return found
        raise EOFError

    monkeypatch.setattr(argparse.ArgumentParser, 'parse_args', read)
    monkeypatch.setattr(
        argparse.ArgumentParser,
        'parse_intermixed_args',
        lambda parser, argv: read(parser, argv),
    )
    for example in examples:
        words = shlex.split(example, comments=True)
        words = list(itertools.takewhile(lambda w: w not in '|>', words))
        with pytest.raises(EOFError):
            main(words[1:])


def test_the_overview_imports_nothing_that_takes_long():
    code = 'from mmtvr.cli.main import main; main(["--help"])'
    command = [sys.executable, '-X', 'importtime', '-c', code]
    told = subprocess.run(
        command, env=ENVIRONMENT, capture_output=True, text=True, check=True
    ).stderr
    loaded = {line.rpartition('|')[2].strip() for line in told.splitlines()}
    # A clock would measure how busy the machine is.
    assert not loaded & {'torch', 'mmengine', 'numpy', 'rich', 'lancedb'}
    assert len(loaded) < 150


def test_help_is_there_before_what_works():
    code = (
        'import sys; from mmtvr.cli.main import main\n'
        'for name in sys.argv[1:]:\n'
        '    try: main([name, "--help"])\n'
        '    except SystemExit: pass\n'
        'sys.exit("torch" in sys.modules)\n'
    )
    command = [sys.executable, '-c', code, *COMMANDS]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True)
    assert done.returncode == 0
    assert done.stdout.count(b'usage: mmtvr') == len(COMMANDS)
