"""Versions and what is known to break, with versions put in by hand."""

import pytest
from packaging.specifiers import SpecifierSet

from mmtvr.doctor import known_breakages, versions
from mmtvr.doctor.known_breakages import collect_versions, find_breakages

HEALTHY = {
    'torch': '2.13.0+cpu',
    'mmengine': '0.11.0rc3',
    'mmcv-lite': '2.0.1',
    'mmaction2': '1.1.0',
    'numpy': '2.3.0',
    'transformers': '5.23.0',
    'setuptools': '84.2.1',
    'decord': '0.6.0',
    'pkg_resources': False,
    'importlib_metadata': True,
    'forced': False,
}


@pytest.mark.parametrize(
    ('change', 'severity', 'words'),
    [
        ({'mmengine': '0.10.7'}, 'error', 'HistoryBuffer'),
        ({'mmengine': '0.10.7'}, 'error', 'pkg_resources'),
        ({'mmcv-lite': '2.1.0'}, 'error', 'AssertionError: MMCV'),
        (
            {'mmaction2': '1.2.0', 'mmcv-lite': '2.2.0'},
            'error',
            'AssertionError: MMCV==2.2.0',
        ),
        (
            {'mmaction2': '1.2.0', 'importlib_metadata': False},
            'error',
            'importlib_metadata',
        ),
        ({'mmaction2': '1.2.0'}, 'warning', 'localizers.drn'),
        ({'mmcv': '2.0.1'}, 'warning', 'mmcv._ext'),
        ({'openmim': '0.3.9'}, 'warning', 'mim does not start'),
        ({'decord': None}, 'warning', 'aarch64'),
        ({'forced': True}, 'warning', 'run the code'),
        ({'numpy': '2.4.6'}, 'ok', 'in1d'),
        ({'mmaction2': '1.2.0'}, 'ok', 'apply_chunking_to_forward'),
    ],
)
def test_each_breakage_is_found_with_its_way_out(change, severity, words):
    found = {**HEALTHY, **change}
    found = {name: value for name, value in found.items() if value is not None}
    (finding,) = [f for f in find_breakages(found) if words in f.text]
    assert finding.severity == severity
    assert finding.way_out


def test_a_healthy_environment_has_none():
    (finding,) = find_breakages(HEALTHY)
    assert (finding.severity, finding.way_out) == ('ok', '')


def test_each_breakage_is_tested_above():
    assert len(known_breakages.BREAKAGES) == 12


def test_this_environment_breaks_nowhere():
    assert 'torch' in collect_versions()
    assert {f.severity for f in find_breakages(collect_versions())} == {'ok'}


@pytest.mark.parametrize(
    ('own', 'severity', 'text'),
    [
        ('2.7.1+cu128', 'ok', '2.7.1+cu128, tested with 2.13.0'),
        ('2.13.0+cpu', 'ok', '2.13.0+cpu'),
        ('2.5.1', 'error', '2.5.1, mmtvr needs >=2.6'),
        (None, 'error', 'it is not installed'),
    ],
)
def test_versions_are_compared(monkeypatch, own, severity, text):
    def version(name):
        if own is None:
            raise versions.PackageNotFoundError(name)
        return own

    monkeypatch.setattr(versions, 'version', version)
    found = versions.check_package('torch', SpecifierSet('>=2.6'), '2.13.0')
    assert (found.severity, found.text) == (severity, text)
    if severity == 'error':
        assert "'torch>=2.6'" in found.way_out


def test_python_is_compared(monkeypatch):
    monkeypatch.setattr(versions.platform, 'python_version', lambda: '3.9.1')
    found = versions.check_python('>=3.10,<3.14')
    assert found.severity == 'error'
    assert '3.9.1' in found.text


def test_all_packages_are_listed_with_the_lock_read():
    found = {f.subject: f for f in versions.check_versions()}
    assert found['torch'].severity == 'ok'
    assert versions.read_lock(versions.LOCK)['torch'] == '2.13.0'


def test_mmtvr_that_is_not_installed_is_an_error(monkeypatch):
    def requires(name):
        raise versions.PackageNotFoundError(name)

    monkeypatch.setattr(versions, 'requires', requires)
    (found,) = versions.check_versions()
    assert found.severity == 'error'
    assert found.way_out.startswith('pip install')
