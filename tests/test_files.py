import errno
import os
import subprocess

import pytest

from mmtvr import files as atomic_file
from mmtvr.errors import SetupError
from mmtvr.files import remove_partial_files, write_atomically


def test_a_file_is_written_into_a_new_folder(tmp_path):
    path = tmp_path / 'new/file.pth'
    write_atomically(path, b'content')
    assert path.read_bytes() == b'content'
    assert [p.name for p in path.parent.iterdir()] == ['file.pth']


def test_the_content_is_on_the_disk_before_it_gets_its_name(
    tmp_path, monkeypatch
):
    calls = []

    def recorded(name):
        call = getattr(os, name)

        def record(*arguments):
            calls.append(name)
            return call(*arguments)

        monkeypatch.setattr(f'mmtvr.files.os.{name}', record)

    recorded('fsync')
    recorded('replace')
    write_atomically(tmp_path / 'file', b'content')
    assert calls == ['fsync', 'replace', 'fsync']


@pytest.mark.parametrize('number', [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_gets_full_leaves_the_old_file(
    tmp_path, monkeypatch, number
):
    path = tmp_path / 'file.pth'
    path.write_bytes(b'old')

    def half(path, content):
        path.write_bytes(content[:3])
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(atomic_file, 'write_through', half)
    with pytest.raises(SetupError, match=r'disk is full: .*file\.pth needs'):
        write_atomically(path, b'new content')
    assert path.read_bytes() == b'old'
    assert list(tmp_path.iterdir()) == [path]


def test_a_disk_without_room_is_not_filled_up(tmp_path, monkeypatch):
    usage = atomic_file.shutil.disk_usage(tmp_path)._replace(free=999_999)
    monkeypatch.setattr(atomic_file.shutil, 'disk_usage', lambda _: usage)
    monkeypatch.delattr(atomic_file, 'write_through')
    message = r'needs 1\.5 MB, .* has 1\.0 MB free'
    with pytest.raises(SetupError, match=message):
        write_atomically(tmp_path / 'file', bytes(1_500_000))


def test_another_error_stays_itself_and_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(path, content):
        path.write_bytes(content[:3])
        raise KeyboardInterrupt

    monkeypatch.setattr(atomic_file, 'write_through', interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / 'file', b'content')
    assert not list(tmp_path.iterdir())


def test_only_half_written_files_of_the_pattern_are_removed(tmp_path):
    names = 'a.pth', 'a.pth.partial', 'b.pth.partial', 'c.txt.partial'
    for name in names:
        (tmp_path / name).touch()
    removed = remove_partial_files(tmp_path, '*.pth')
    assert [path.name for path in removed] == [
        'a.pth.partial',
        'b.pth.partial',
    ]
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ['a.pth', 'c.txt.partial']


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one megabyte."""
    folder = tmp_path / 'small'
    folder.mkdir()
    mount = ['mount', '-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True)
    except OSError:
        pytest.skip('there is no mount')
    if mounted.returncode:
        pytest.skip('mounting is not permitted')
    yield folder
    subprocess.run(['umount', str(folder)], check=True)


def test_a_really_full_disk_keeps_what_was_there(small_disk, monkeypatch):
    path = small_disk / 'file.pth'
    write_atomically(path, bytes(600_000))
    # As where a quota ends before the disk does.
    usage = atomic_file.shutil.disk_usage(small_disk)._replace(free=10**9)
    monkeypatch.setattr(atomic_file.shutil, 'disk_usage', lambda _: usage)
    with pytest.raises(SetupError, match='disk is full'):
        write_atomically(path, bytes(700_000))
    assert path.stat().st_size == 600_000
    assert list(small_disk.iterdir()) == [path]
