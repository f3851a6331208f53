"""Versions and what is known to break, with versions put in by hand."""

import pytest
from packaging.specifiers import SpecifierSet

from mmtvr.doctor import environment
from mmtvr.doctor.environment import (
    check_import,
    collect_versions,
    describe_environment,
    find_breakages,
)

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
        (
            {'opencv-python': '5.0.0.93', 'opencv-contrib-python': '4.11.0'},
            'warning',
            "'cv2' has no attribute",
        ),
        ({'openmim': '0.3.9'}, 'warning', 'mim does not start'),
        ({'decord': None}, 'warning', 'aarch64'),
        ({'forced': True}, 'warning', 'run the code'),
        ({'numpy': '2.4.6'}, 'ok', 'in1d'),
        ({'mmaction2': '1.2.0'}, 'ok', 'apply_chunking_to_forward'),
    ],
)
def test_each_breakage_is_found_with_its_fix(change, severity, words):
    found = {**HEALTHY, **change}
    found = {name: value for name, value in found.items() if value is not None}
    (finding,) = [f for f in find_breakages(found) if words in f.text]
    assert finding.severity == severity
    assert finding.fix


def test_a_healthy_environment_has_none():
    (finding,) = find_breakages(HEALTHY)
    assert (finding.severity, finding.fix) == ('ok', '')


def test_each_breakage_is_tested_above():
    assert len(environment.BREAKAGES) == 13


def test_this_environment_breaks_nowhere():
    assert 'torch' in collect_versions()
    found = find_breakages(collect_versions())
    # The second lock has it, and a note on what it lacks.
    bad = {f.subject for f in found if f.severity != 'ok'}
    assert bad <= {'mmaction2 1.2.0'}


@pytest.mark.parametrize(
    ('own', 'severity', 'text'),
    [
        ('2.7.1+cu128', 'ok', '2.7.1+cu128, tested with 2.13.0'),
        ('2.13.0+cpu', 'ok', '2.13.0+cpu'),
        ('2.5.1', 'error', '2.5.1, mmtvr needs >=2.6'),
        (None, 'error', 'it is not installed'),
    ],
)
def test_versions_are_compared(own, severity, text):
    asked = SpecifierSet('>=2.6')
    found = environment.compare_version('torch', own, asked, '2.13.0', 'fix')
    assert (found.severity, found.text) == (severity, text)
    assert (found.fix == 'fix') == (severity == 'error')


def test_what_a_second_lock_pins_is_no_error():
    pinned = environment.read_lock(
        environment.LOCK_FILE.with_name('lock-mmaction-1.2.txt')
    )
    pinned.pop('importlib-metadata')
    assert pinned == environment.SECOND_LOCK
    for name, own in pinned.items():
        asked = SpecifierSet(f'<{own}')
        found = environment.compare_version(name, own, asked, None, 'fix')
        assert (found.severity, found.fix) == ('ok', '')


def test_python_and_absent_packages_are_compared(monkeypatch):
    def version(name):
        if name == 'torch':
            raise environment.PackageNotFoundError(name)
        return '0'

    monkeypatch.setattr(environment.platform, 'python_version', lambda: '3.9')
    monkeypatch.setattr(environment, 'version', version)
    found = {f.subject: f for f in environment.check_versions()}
    assert found['Python'].severity == found['torch'].severity == 'error'
    assert '3.9, mmtvr needs' in found['Python'].text
    assert found['torch'].text == 'it is not installed'
    assert "'torch>=" in found['torch'].fix
    assert found['mmengine'].text.startswith('0, mmtvr needs')


def test_all_packages_are_listed_with_the_lock_read():
    found = {f.subject: f for f in environment.check_versions()}
    assert found['torch'].severity == 'ok'
    assert environment.read_lock(environment.LOCK_FILE)['torch'] == '2.13.0'


def test_the_environment_is_described_as_by_mmengine(monkeypatch):
    found = {f.subject: f.text for f in describe_environment()}
    assert {'Python', 'PyTorch', 'GCC', 'MMEngine'} <= set(found)

    def collect_env():
        raise ModuleNotFoundError("No module named 'distutils'")

    monkeypatch.setattr('mmengine.utils.dl_utils.collect_env', collect_env)
    (finding,) = describe_environment()
    assert (finding.severity, 'distutils' in finding.text) == ('ok', True)


def test_an_optional_package_names_its_extra(monkeypatch):
    monkeypatch.setitem(environment.EXTRAS, 'nowhere', 'search')
    (finding,) = check_import('nowhere')
    assert finding.severity == 'ok'
    assert finding.fix == "pip install 'mmtvr[search]'"


def test_mmtvr_that_is_not_installed_is_an_error(monkeypatch):
    def requires(name):
        raise environment.PackageNotFoundError(name)

    monkeypatch.setattr(environment, 'requires', requires)
    (found,) = environment.check_versions()
    assert found.severity == 'error'
    assert found.fix.startswith('pip install')
