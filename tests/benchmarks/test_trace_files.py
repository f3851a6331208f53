"""The count of files that a command executes or only imports."""

from pathlib import Path

import pytest

from benchmarks.trace_files import summarize, trace


@pytest.fixture
def checkout(tmp_path):
    package = tmp_path / 'package'
    package.mkdir()
    (package / '__init__.py').touch()
    (package / 'constants.py').write_text('A = [n for n in range(3)]\n')
    (package / 'work.py').write_text('def run():\n    return 1\n')
    (tmp_path / 'main.py').write_text(
        'import os\n'
        'import package.constants\n'
        'from package.work import run\n'
        'if os.fork():\n'
        '    os.wait()\n'
        'else:\n'
        '    run()\n'
    )
    return tmp_path


def test_executed_and_imported_files_are_told_apart(checkout: Path):
    events = trace(['main.py'], checkout, ['package'], until_step=0)
    (found,) = summarize(events)
    assert found['imported_main'] == [
        'package/__init__.py',
        'package/constants.py',
        'package/work.py',
    ]
    assert found['executed_main'] == []
    assert found['executed_all'] == ['package/work.py']


def test_a_command_that_fails_is_an_error(checkout: Path):
    (checkout / 'main.py').write_text('raise SystemExit(3)')
    with pytest.raises(RuntimeError, match='exited with 3'):
        trace(['main.py'], checkout, ['package'], until_step=0)
    (checkout / 'main.py').write_text('')
    with pytest.raises(RuntimeError, match='after 0 optimizer steps'):
        trace(['main.py'], checkout, ['package'], until_step=2)
