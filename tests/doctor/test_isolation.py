"""The doctor starts, and ends, whatever is broken."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmtvr.doctor import command
from mmtvr.doctor.checks import Check, list_checks
from mmtvr.doctor.finding import Finding
from mmtvr.doctor.isolation import answer, run_check

ROOT = Path(__file__).resolve().parents[2]
BROKEN = {
    'torch': "raise OSError('libcudart.so: cannot open')",
    'mmengine': "raise ImportError('No module named pkg_resources')",
    'hangs': 'import time; time.sleep(600)',
    'crashes': 'import os; os.abort()',
}


@pytest.fixture
def broken(tmp_path, monkeypatch):
    """Python finds these in place of the real packages."""
    for name, body in BROKEN.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / '__init__.py').write_text(body)
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    return tmp_path


def find(module, seconds=60):
    check = Check('imports', 'imports:check_import', (module,), seconds)
    (finding,) = run_check(check)
    return finding


@pytest.mark.parametrize(
    ('module', 'seconds', 'text'),
    [
        ('torch', 60, 'OSError: libcudart.so: cannot open'),
        ('mmengine', 60, 'ImportError: No module named pkg_resources'),
        ('nowhere', 60, "No module named 'nowhere'"),
        ('crashes', 60, 'ended with status -6'),
        ('hangs', 2, 'no answer within 2 s'),
    ],
)
def test_a_broken_package_is_one_error(broken, module, seconds, text):
    finding = find(module, seconds)
    assert (finding.check, finding.subject) == ('imports', module)
    assert finding.severity == 'error'
    assert text in finding.text


def test_a_check_that_needs_broken_torch_is_an_error(broken):
    (finding,) = run_check(Check('devices', 'devices:check_devices'))
    assert finding.severity == 'error'
    assert 'libcudart' in finding.text


def test_the_command_runs_without_torch_and_mmengine(broken):
    """The whole command in a process that can import neither."""
    program = (
        'import sys\n'
        'from mmtvr.doctor import command\n'
        'from mmtvr.doctor.checks import Check\n'
        'checks = [Check("versions", "versions:check_versions"),\n'
        '          Check("imports", "imports:check_import", ("torch",))]\n'
        'command.list_checks = lambda config: checks\n'
        'sys.exit(command.main(["--json"]))\n'
    )
    path = os.pathsep.join([str(broken), str(ROOT)])
    done = subprocess.run(
        [sys.executable, '-c', program],
        env={**os.environ, 'PYTHONPATH': path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stderr
    report = json.loads(done.stdout)
    assert report['status'] == 'error'
    last = report['findings'][-1]
    assert (last['subject'], last['severity']) == ('torch', 'error')
    assert last['way_out'].startswith('pip install')


def test_an_exception_of_a_check_is_an_error():
    (finding,) = json.loads(answer('x', 'decoders:check_reader', ['Nothing']))
    assert finding['severity'] == 'error'
    assert 'Nothing' in finding['text']


def test_every_check_leads_to_a_function():
    from importlib import import_module

    for check in list_checks('a.py'):
        module, _, name = check.function.partition(':')
        assert callable(getattr(import_module(f'mmtvr.doctor.{module}'), name))


@pytest.mark.parametrize(
    ('severity', 'status'), [('ok', 0), ('warning', 0), ('error', 1)]
)
def test_exit_status_follows_the_worst_finding(
    monkeypatch, capsys, severity, status
):
    found = [
        Finding('disk', 'a', 'ok', 'fine'),
        Finding('disk', 'b', severity, '\x1b[2J [bold] 4', 'do this'),
    ]
    monkeypatch.setattr(command, 'run_checks', lambda checks: iter(found))
    assert command.main([]) == status
    shown = capsys.readouterr().out
    assert '\x1b[2J' not in shown
    assert r'\x1b[2J [bold] 4' in shown
    assert command.main(['--json']) == status
    report = json.loads(capsys.readouterr().out)
    assert report['status'] == severity
    assert sum(report['counts'].values()) == 2
    for finding in report['findings']:
        assert set(finding) == {
            *('check', 'subject', 'severity', 'text', 'way_out')
        }


def test_without_rich_it_is_plain_text(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'rich.console', None)
    found = [Finding('disk', 'b', 'warning', 'small', 'free some')]
    monkeypatch.setattr(command, 'run_checks', lambda checks: iter(found))
    assert command.main([]) == 0
    assert capsys.readouterr().out.splitlines() == [
        'warning: disk, b: small',
        '    -> free some',
        '1 warning, 0 fine',
    ]
