import errno
import os
import subprocess
import time

import numpy as np
import pytest

from mmtvr import files
from mmtvr.errors import SetupError
from mmtvr.files import (
    FileStamp,
    atomic_path,
    find_video_files,
    hash_file,
    load_arrays,
    remove_partial_files,
    write_arrays,
    write_atomically,
    write_csv,
)


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

    monkeypatch.setattr(files, 'write_through', half)
    with pytest.raises(SetupError, match=r'disk is full: .*file\.pth needs'):
        write_atomically(path, b'new content')
    assert path.read_bytes() == b'old'
    assert list(tmp_path.iterdir()) == [path]


def test_a_disk_without_room_is_not_filled_up(tmp_path, monkeypatch):
    usage = files.shutil.disk_usage(tmp_path)._replace(free=999_999)
    monkeypatch.setattr(files.shutil, 'disk_usage', lambda _: usage)
    monkeypatch.delattr(files, 'write_through')
    message = r'needs 1\.5 MB, .* has 1\.0 MB free'
    with pytest.raises(SetupError, match=message):
        write_atomically(tmp_path / 'file', bytes(1_500_000))


def test_another_error_stays_itself_and_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(path, content):
        path.write_bytes(content[:3])
        raise KeyboardInterrupt

    monkeypatch.setattr(files, 'write_through', interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / 'file', b'content')
    assert not list(tmp_path.iterdir())


def test_only_half_written_files_of_the_pattern_are_removed(tmp_path):
    half = 'a.pth.partial', 'b.pth.9-1a.partial'
    names = 'a.pth', 'c.txt.partial', *half
    for name in names:
        (tmp_path / name).touch()
    removed = remove_partial_files(tmp_path, '*.pth')
    assert [path.name for path in removed] == [*half]
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ['a.pth', 'c.txt.partial']


def test_writers_of_one_file_do_not_meet(tmp_path):
    path = tmp_path / 'new/file'
    with atomic_path(path) as first, atomic_path(path) as second:
        first.write_text('first')
        second.write_text('second')
        assert not path.exists()
    # The inner block ends first.
    assert path.read_text() == 'first'
    with pytest.raises(RuntimeError), atomic_path(path) as third:  # noqa: PT012
        third.write_text('half')
        raise RuntimeError
    assert path.read_text() == 'first'
    assert list(path.parent.iterdir()) == [path]


def test_files_may_be_read_by_others_as_usual(tmp_path):
    (tmp_path / 'usual').touch()
    write_atomically(tmp_path / 'text', 'a\n')
    write_arrays(tmp_path / 'arrays.npz', {}, compress=True)
    modes = {path.stat().st_mode for path in tmp_path.iterdir()}
    assert len(modes) == 1


def test_csv_cells_are_no_formulas(tmp_path):
    path = tmp_path / 'list.csv'
    write_csv(path, ['file', 'count'], [('=1+1', 2), ('-a.mp4', 3)])
    text = path.read_text()
    assert text.splitlines() == ['file,count', "'=1+1,2", '-a.mp4,3']


def test_hashes_are_those_that_indexes_keep(tmp_path):
    path = tmp_path / 'video.mp4'
    path.write_bytes(b'content')
    assert hash_file(path) == '21f057fe2397ac68d4eaacd7'
    assert hash_file(path, 16) == 'c681ff421fbd7af6dc373a7ced20fbeb'


def test_a_stamp_shows_a_change_that_size_and_mtime_hide(tmp_path):
    path = tmp_path / 'file'
    path.write_bytes(b'one')
    before = FileStamp.of(os.stat(path))
    time.sleep(0.05)
    path.write_bytes(b'two')
    os.utime(path, ns=(before.mtime_ns, before.mtime_ns))
    after = FileStamp.of(os.stat(path))
    assert after[:2] == before[:2]
    assert after != before


def test_videos_are_found_through_links_but_once(tmp_path):
    (tmp_path / 'inner/.hidden').mkdir(parents=True)
    for name in 'b.MP4', 'a.mkv', 'notes.txt', '.c.mp4', 'inner/d.avi':
        (tmp_path / name).touch()
    (tmp_path / 'inner/.hidden/e.mp4').touch()
    (tmp_path / 'inner/circle').symlink_to(tmp_path)
    unreadable = {}
    found = [*find_video_files(tmp_path, unreadable)]
    names = [os.path.relpath(path, tmp_path) for path in found]
    assert names == ['a.mkv', 'b.MP4', 'inner/d.avi']
    assert [*find_video_files(tmp_path / 'gone', unreadable)] == []
    assert [*unreadable] == [str(tmp_path / 'gone')]


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
    usage = files.shutil.disk_usage(small_disk)._replace(free=10**9)
    monkeypatch.setattr(files.shutil, 'disk_usage', lambda _: usage)
    with pytest.raises(SetupError, match='disk is full'):
        write_atomically(path, bytes(700_000))
    assert path.stat().st_size == 600_000
    assert list(small_disk.iterdir()) == [path]


def test_a_table_of_numbers_is_recognised_and_pickles_are_not_advised(
    tmp_path,
):
    path = tmp_path / 'scores.csv'
    path.write_text('0.1,0.2\n0.3,0.4\n')
    with pytest.raises(SetupError, match=r'text file.*np\.loadtxt') as error:
        load_arrays(path, 'scores')
    assert 'pickle' not in str(error.value)
    np.save(tmp_path / 'objects.npy', np.array([{}]), allow_pickle=True)
    with pytest.raises(SetupError) as error:
        load_arrays(tmp_path / 'objects.npy', 'scores')
    assert 'allow_pickle' not in str(error.value)
