"""What the frame cache serves, and what it must not."""

import io
import json
import os
import pickle
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest

from mmtvr.video.cache import warn_once


def test_raw_frames_come_back_bit_by_bit(make_cache, store, look_up, frames):
    times = np.linspace(0, 2.7, 40)
    assert store(make_cache(), frames, times) > frames.nbytes
    found = look_up(make_cache())
    np.testing.assert_array_equal(
        found.get_frames([9, 0, 3, 0]), frames[[3, 0, 1, 0]]
    )
    np.testing.assert_array_equal(found.get_times(), times)
    assert found.properties == dict(count=40)
    assert found.get_frames([1]) is None


def test_jpeg_frames_are_near_and_smaller(make_cache, store, look_up):
    x = np.linspace(0, 255, 64)
    smooth = np.stack([np.add.outer(x, x) / 2] * 3, -1).astype(np.uint8)[None]
    sizes = {}
    for quality in (50, 95):
        cache = make_cache(coding='jpeg', quality=quality)
        sizes[quality] = store(cache, smooth)
        stored = look_up(make_cache(coding='jpeg', quality=quality))
        restored = stored.get_frames([0])
        assert np.abs(restored.astype(int) - smooth).max() <= 8
        np.testing.assert_array_equal(restored, cache.as_stored(smooth))
    assert sizes[50] < sizes[95] < smooth.nbytes
    assert look_up(make_cache(coding='jpeg', quality=80)) is None


def test_entries_are_files_of_a_tar_without_pickles(
    make_cache, store, frames, tmp_path
):
    store(make_cache(), frames, np.arange(40.0))
    store(make_cache(coding='jpeg'), frames)
    (path,) = (tmp_path / 'cache').glob('*.tar')
    with tarfile.open(path) as tar:
        files = {
            member.name.split('.', 1)[1]: tar.extractfile(member).read()
            for member in tar.getmembers()
        }
    assert json.loads(files['json'])['indices'] == [0, 3, 6, 9]
    restored = np.load(io.BytesIO(files['npy']), allow_pickle=False)
    np.testing.assert_array_equal(restored, frames)
    times = np.load(io.BytesIO(files['times.npy']), allow_pickle=False)
    assert times[-1] == 39
    assert files['003.jpg'].startswith(b'\xff\xd8')


@pytest.mark.parametrize(
    'change', [dict(reader='other'), dict(versions=2), dict(short_side=8)]
)
def test_other_options_are_another_entry(
    make_cache, store, look_up, frames, change
):
    options = dict(reader='pyav', versions=1, short_side=4)
    store(make_cache(), frames, **options)
    assert look_up(make_cache(), **options) is not None
    assert look_up(make_cache(), **{**options, **change}) is None


def test_changed_content_is_another_entry(
    make_cache, store, look_up, frames, video
):
    store(make_cache(), frames)
    content = Path(video).read_bytes()
    times = os.stat(video).st_atime_ns, os.stat(video).st_mtime_ns
    with open(video, 'r+b') as file:
        file.write(b'T')
    # Neither size nor time of modification tell.
    os.utime(video, ns=times)
    assert os.stat(video).st_mtime_ns == times[1]
    assert look_up(make_cache()) is None
    with open(video, 'wb') as file:
        file.write(content)
    assert look_up(make_cache()) is not None


def test_a_copy_of_the_file_is_the_same_content(
    make_cache, store, look_up, frames, video, tmp_path
):
    store(make_cache(), frames)
    copy = shutil.copy(video, tmp_path / 'copy.mp4')
    np.testing.assert_array_equal(
        look_up(make_cache(), copy).get_frames([6]), frames[2:3]
    )


def test_content_is_hashed_once(
    make_cache, store, look_up, frames, monkeypatch
):
    store(make_cache(), frames)
    monkeypatch.setattr('mmtvr.video.cache.frame_cache.content_digest', None)
    assert look_up(make_cache()) is not None


def test_a_file_that_just_changed_is_hashed_again(
    make_cache, store, look_up, frames, monkeypatch
):
    monkeypatch.setattr('mmtvr.video.cache.content.SETTLED_AFTER', 1e9)
    store(make_cache(), frames)
    monkeypatch.setattr(
        'mmtvr.video.cache.frame_cache.content_digest', lambda path: bytes(16)
    )
    assert look_up(make_cache()) is None


def test_file_that_changes_while_it_is_read_is_not_stored(
    make_cache, look_up, frames, video
):
    cache = make_cache()
    query = cache.ask(video, {})
    with open(video, 'ab') as file:
        file.write(b'more')
    assert cache.add(query, dict(indices=[0]), frames[:1]) == 0
    assert look_up(make_cache()) is None


def test_moved_cache_serves(make_cache, store, frames, video, tmp_path):
    store(make_cache(), frames)
    shutil.move(tmp_path / 'cache', tmp_path / 'elsewhere')
    cache = make_cache()
    cache = type(cache)(str(tmp_path / 'elsewhere'))
    found = cache.find(cache.ask(video, {}))
    np.testing.assert_array_equal(found.get_frames([9]), frames[3:])


def test_missing_file_is_left_to_the_reader(make_cache):
    assert make_cache().ask('/no/such/video.mp4', {}) is None


def test_pickled_cache_finds_what_is_there(make_cache, store, look_up, frames):
    cache = make_cache()
    store(cache, frames)
    assert look_up(pickle.loads(pickle.dumps(cache))) is not None


@pytest.mark.parametrize('where', ['all', 'index', 'tar'])
def test_flipped_bits_are_noticed(
    make_cache, store, look_up, frames, tmp_path, where
):
    store(make_cache(), frames, np.arange(40.0))
    suffix = dict(all='.*', index='.frames', tar='.tar')[where]
    rng = np.random.default_rng(0)
    for path in (tmp_path / 'cache').glob(f'*{suffix}'):
        content = bytearray(path.read_bytes())
        whole = bytes(content)
        for place in rng.integers(0, len(content), 40) if content else ():
            content[place] ^= 1 << rng.integers(8)
            path.write_bytes(content)
            check_served(look_up(make_cache()), frames)
            content = bytearray(whole)
        path.write_bytes(whole)
    check_served(look_up(make_cache()), frames, must=True)


def check_served(found, frames, must=False):
    from mmtvr.video.cache.shard import DamagedEntryError

    try:
        if found is None:
            raise DamagedEntryError
        served = found.get_frames([0, 3, 6, 9])
        times = found.get_times()
    except DamagedEntryError:
        assert not must
    else:
        np.testing.assert_array_equal(served, frames)
        np.testing.assert_array_equal(times, np.arange(40.0))


def test_damaged_entry_is_made_again(
    make_cache, store, look_up, frames, tmp_path
):
    store(make_cache(), frames)
    (tar,) = (tmp_path / 'cache').glob('*.tar')
    content = tar.read_bytes().replace(b'"count"', b'"Count"')
    tar.write_bytes(content)
    cache = make_cache()
    assert look_up(cache) is None
    store(cache, frames)
    for each in (cache, make_cache()):
        served = look_up(each).get_frames([0])
        np.testing.assert_array_equal(served, frames[:1])


@pytest.fixture
def heard(monkeypatch, tmp_path):
    monkeypatch.setattr(warn_once.tempfile, 'gettempdir', lambda: tmp_path)
    return []


def test_full_disk_stops_storing_with_one_warning(
    make_cache, store, look_up, frames, monkeypatch, heard, tmp_path
):
    store(make_cache(), frames, tag=1)
    before = {
        path: path.read_bytes() for path in (tmp_path / 'cache').iterdir()
    }

    def write(file, content):
        if memoryview(content).nbytes > 200:
            file.write(content[:100])
            raise OSError(28, 'No space left on device')
        file.write(content)

    monkeypatch.setattr('mmtvr.video.cache.shard_writer.write_all', write)
    caches = [make_cache(warn=heard.append) for _ in range(3)]
    for cache in caches:
        assert store(cache, frames, tag=2) == 0
        assert cache.stopped
        assert look_up(cache, tag=1) is not None
        cache.close()
    (message,) = heard
    assert 'No space left' in message
    monkeypatch.undo()
    for path, content in before.items():
        assert path.read_bytes() == content


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(reserve_gb=1e9), 'are to stay so'),
        (dict(limit_gb=0), 'limit_gb=0 is reached'),
    ],
)
def test_space_is_left(
    make_cache, store, frames, heard, tmp_path, options, message
):
    cache = make_cache(warn=heard.append, **{**dict(reserve_gb=0), **options})
    assert store(cache, frames) == 0
    assert message in heard[0]


def test_folder_that_cannot_be_written_stops_storing(
    make_cache, store, frames, heard, tmp_path
):
    (tmp_path / 'cache').write_text('not a folder')
    cache = make_cache(warn=heard.append)
    assert store(cache, frames) == 0
    assert len(heard) == 1


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(coding='png'), "'raw' or 'jpeg'"),
        (dict(quality=0), '1 to 100'),
        (dict(frames_per_segment=0), 'positive'),
    ],
)
def test_impossible_options_are_refused(make_cache, options, message):
    with pytest.raises(ValueError, match=message):
        make_cache(**options)


def test_a_run_is_warned_again_after_an_hour(monkeypatch, tmp_path):
    monkeypatch.setattr(warn_once.tempfile, 'gettempdir', lambda: tmp_path)
    answers = [warn_once.may_warn(name) for name in ('a', 'a', 'b')]
    assert answers == [True, False, True]
    for path in tmp_path.iterdir():
        os.utime(path, (0, 0))
    assert warn_once.may_warn('a')
    assert len(list(tmp_path.iterdir())) == 1
