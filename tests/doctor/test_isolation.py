"""The doctor starts, and ends, whatever is broken."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmtvr.doctor import Finding, checks
from mmtvr.doctor.checks import MARK, Check, answer, list_checks, run_check

ROOT = Path(__file__).resolve().parents[2]
BROKEN = {
    'torch': "raise OSError('libcudart.so: cannot open')",
    'mmengine': "raise ImportError('No module named pkg_resources')",
    # Beside mmtvr too, in a checkout.
    'benchmarks': "raise ImportError('that of the user')",
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
    monkeypatch.chdir(tmp_path / 'hangs')
    return tmp_path


def find(module, seconds=60):
    check = Check('imports', 'environment:check_import', (module,), seconds)
    (finding,) = run_check(check)
    return finding


@pytest.mark.parametrize(
    ('module', 'seconds', 'text'),
    [
        ('torch', 60, 'OSError: libcudart.so: cannot open'),
        ('mmengine', 60, 'ImportError: No module named pkg_resources'),
        ('benchmarks', 60, 'ImportError: that of the user'),
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
    (finding,) = run_check(Check('devices', 'machine:check_devices'))
    assert finding.severity == 'error'
    assert 'libcudart' in finding.text


def test_the_command_runs_without_torch_and_mmengine(broken):
    """The whole command in a process that can import neither."""
    program = (
        'import sys\n'
        'from mmtvr.doctor import checks\n'
        'from mmtvr.doctor.checks import Check\n'
        'chosen = [Check("versions", "environment:check_versions"),\n'
        '          Check("imports", "environment:check_import", ("torch",))]\n'
        'checks.list_checks = lambda config: chosen\n'
        'sys.exit(checks.main(["--json"]))\n'
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
    assert last['fix'].startswith('pip install')


def test_an_exception_of_a_check_is_an_error(capfd):
    answer(['x', 'decoders:check_reader', 'Nothing'])
    (finding,) = json.loads(capfd.readouterr().out.partition(MARK)[2])
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
    monkeypatch.setattr(checks, 'run_checks', lambda _: iter(found))
    assert checks.main([]) == status
    shown = capsys.readouterr().out
    assert '\x1b[2J' not in shown
    assert r'\x1b[2J [bold] 4' in shown
    assert checks.main(['--json']) == status
    report = json.loads(capsys.readouterr().out)
    assert report['status'] == severity
    assert sum(report['counts'].values()) == 2
    for finding in report['findings']:
        assert set(finding) == {
            *('check', 'subject', 'severity', 'text', 'fix', 'way_out')
        }


def test_the_report_names_the_fix_below_the_finding(monkeypatch, capsys):
    found = [Finding('disk', 'b', 'warning', 'small', 'free some')]
    monkeypatch.setattr(checks, 'run_checks', lambda _: iter(found))
    assert checks.main([]) == 0
    lines = capsys.readouterr().out.split('\n')
    assert [line.split() for line in lines if line] == [
        ['disk'],
        ['!', 'b', 'small'],
        ['→', 'free', 'some'],
        ['1', 'warning,', '0', 'fine'],
    ]


def test_a_work_folder_is_no_index(tmp_path):
    assert checks.is_index(str(tmp_path))
    (tmp_path / 'mine.py').touch()
    assert not checks.is_index(str(tmp_path))
