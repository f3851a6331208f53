"""What a wheel and an editable install hold."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytest.importorskip('setuptools', minversion='77')
ROOT = Path(__file__).resolve().parents[1]
MIM = 'mmtvr/.mim/'
NOT_IN_SDIST = {
    '.dockerignore',
    '.gitignore',
    '.pre-commit-config.yaml',
    '.github',
}


@pytest.fixture(scope='module')
def tracked():
    """Files of the project that git knows, relative to its root."""
    if not (ROOT / '.git').exists():
        pytest.skip('not a git checkout')
    listed = subprocess.run(
        ['git', 'ls-files', '-z'],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    names = listed.rstrip('\0').split('\0')
    return [name for name in names if (ROOT / name).is_file()]


@pytest.fixture
def checkout(tracked, tmp_path):
    """A copy of the tracked files alone, so that nothing else can slip in."""
    folder = tmp_path / 'checkout'
    for name in tracked:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    return folder


def build(checkout, hook, target):
    """Call a hook of the build backend, without network or isolation."""
    target.mkdir()
    done = subprocess.run(
        [
            sys.executable,
            '-c',
            'import sys; from setuptools import build_meta; '
            f'build_meta.{hook}(sys.argv[1])',
            str(target),
        ],
        cwd=checkout,
        env={**os.environ, 'PYTHONDONTWRITEBYTECODE': '1'},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return next(target.iterdir())


def test_a_wheel_of_the_sdist_holds_the_package_with_configs_and_tools(
    checkout, tracked, tmp_path
):
    sdist = build(checkout, 'build_sdist', tmp_path / 'sdist')
    shutil.unpack_archive(sdist, tmp_path / 'source', filter='data')
    (source,) = (tmp_path / 'source').iterdir()
    left_out = [name for name in tracked if not (source / name).exists()]
    assert {name.partition('/')[0] for name in left_out} <= NOT_IN_SDIST
    wheel = build(source, 'build_wheel', tmp_path / 'wheel')
    with zipfile.ZipFile(wheel) as file:
        held = [n for n in file.namelist() if '.dist-info/' not in n]
    expected = [name for name in tracked if name.startswith('mmtvr/')] + [
        MIM + name
        for name in tracked
        if name.startswith(('configs/', 'tools/', 'requirements/'))
    ]
    assert sorted(held) == sorted(expected)


def test_an_editable_install_links_configs_and_tools(checkout, tmp_path):
    build(checkout, 'build_editable', tmp_path / 'editable')
    for name in ('configs', 'tools', 'requirements'):
        link = checkout / MIM / name
        assert link.is_symlink()
        assert link.resolve() == checkout / name


def test_a_wheel_after_an_editable_install_is_the_same(checkout, tmp_path):
    first = build(checkout, 'build_wheel', tmp_path / 'first')
    shutil.rmtree(checkout / 'build')
    build(checkout, 'build_editable', tmp_path / 'editable')
    second = build(checkout, 'build_wheel', tmp_path / 'second')
    with zipfile.ZipFile(first) as one, zipfile.ZipFile(second) as two:
        assert sorted(one.namelist()) == sorted(two.namelist())
