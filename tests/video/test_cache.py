"""What the frame cache serves, and what it must not."""

import multiprocessing
import os
import pickle
import random
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from mmtvr.video import VideoReader
from mmtvr.video import cache as module
from mmtvr.video.cache import (
    CachedReader,
    DamagedEntryError,
    FrameCache,
    snap_to_spread,
    spread_in_segments,
)
from mmtvr.video.sampling import sample_uniformly, segment_bounds


@pytest.fixture
def settled(monkeypatch):
    """As if every file had been there for a while."""
    monkeypatch.setattr(module, 'SETTLED_AFTER', -1e9)


@pytest.fixture
def video(tmp_path, settled):
    path = tmp_path / 'video.mp4'
    path.write_bytes(b'the bytes of a video' * 100)
    return str(path)


@pytest.fixture
def make_cache(tmp_path):
    """Function that opens the cache as another process would."""

    def make(**options):
        defaults = dict(folder=str(tmp_path / 'cache'), reserve_gb=0)
        return FrameCache(**{**defaults, **options})

    return make


@pytest.fixture
def frames():
    return np.random.default_rng(0).integers(0, 256, (4, 6, 8, 3), np.uint8)


@pytest.fixture
def store(video):
    """Function that puts frames 0, 3, 6, ... of the video into a cache."""

    def put(cache, frames, times=None, path=video, **options):
        query = cache.ask(path, options)
        return put_frames(cache, query, frames, times)

    return put


def put_frames(cache, query, frames, times=None):
    times = np.arange(40.0) if times is None else times
    encoded = [cache.encode(frame) for frame in frames]
    indices = [3 * row for row in range(len(frames))]
    facts = dict(count=len(times))
    return cache.add(query, facts, indices, encoded, frames.shape[1:], times)


@pytest.fixture
def look_up(video):
    """Function that finds the video in a cache."""

    def find(cache, path=video, **options):
        return cache.find(cache.ask(path, options))

    return find


@pytest.fixture
def entries(tmp_path):
    """Function that lists the entries in the folder of the cache."""
    return lambda: sorted((tmp_path / 'cache').glob('??/*.entry'))


def test_raw_frames_come_back_bit_by_bit(make_cache, store, look_up, frames):
    times = np.linspace(0, 2.7, 40)
    assert store(make_cache(), frames, times) > frames.nbytes
    found = look_up(make_cache())
    np.testing.assert_array_equal(
        found.get_frames([9, 0, 3, 0]), frames[[3, 0, 1, 0]]
    )
    np.testing.assert_array_equal(found.get_times(), times)
    assert found.facts == dict(count=40)
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
        first = cache.decode(cache.encode(smooth[0]))
        np.testing.assert_array_equal(restored[0], first)
    assert sizes[50] < sizes[95] < smooth.nbytes
    assert look_up(make_cache(coding='jpeg', quality=80)) is None


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
    monkeypatch.setattr(module, 'hash_file', None)
    assert look_up(make_cache()) is not None


def test_a_file_that_just_changed_is_hashed_again(
    make_cache, store, look_up, frames, monkeypatch
):
    monkeypatch.setattr(module, 'SETTLED_AFTER', 1e9)
    store(make_cache(), frames)
    monkeypatch.setattr(module, 'hash_file', lambda path, size: 'other')
    assert look_up(make_cache()) is None


def test_file_that_changes_while_it_is_read_is_not_stored(
    make_cache, look_up, frames, video
):
    cache = make_cache()
    query = cache.ask(video, {})
    with open(video, 'ab') as file:
        file.write(b'more')
    assert put_frames(cache, query, frames) == 0
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


@pytest.mark.parametrize('part', ['prefix', 'header', 'all'])
def test_flipped_bits_are_noticed(
    make_cache, store, look_up, frames, entries, part
):
    store(make_cache(), frames)
    (path,) = entries()
    whole = path.read_bytes()
    end = dict(prefix=24, header=600, all=len(whole))[part]
    rng = np.random.default_rng(0)
    for place in rng.integers(0, end, 60):
        content = bytearray(whole)
        content[place] ^= 1 << rng.integers(8)
        path.write_bytes(content)
        check_served(look_up(make_cache()), frames)
    path.write_bytes(whole)
    check_served(look_up(make_cache()), frames, must=True)


def check_served(found, frames, must=False):
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


@pytest.mark.parametrize('length', [0, 7, 30, 400, -1])
def test_cut_off_entries_are_made_again(
    make_cache, store, look_up, frames, entries, length
):
    frames = np.repeat(frames, 400, axis=0)
    store(make_cache(), frames)
    (path,) = entries()
    path.write_bytes(path.read_bytes()[:length])
    found = look_up(make_cache())
    if found is not None:
        last = 3 * (len(frames) - 1)
        with pytest.raises(DamagedEntryError):
            found.get_frames([last])
    cache = make_cache()
    store(cache, frames)
    for each in (cache, make_cache()):
        served = look_up(each).get_frames([0, 3])
        np.testing.assert_array_equal(served, frames[:2])
    assert len(entries()) == 1


def test_an_entry_under_another_name_is_not_served(
    make_cache, store, look_up, frames, entries
):
    store(make_cache(), frames, tag=1)
    (first,) = entries()
    store(make_cache(), 255 - frames, tag=2)
    (second,) = {*entries()} - {first}
    shutil.copy(second, first)
    assert look_up(make_cache(), tag=1) is None


def test_damaged_notes_of_contents_find_nothing(
    make_cache, store, look_up, frames, tmp_path
):
    store(make_cache(), frames)
    (note,) = (tmp_path / 'cache/content').iterdir()
    whole = note.read_bytes()
    for damaged in (b'', b'\xff' + whole[1:], whole[:-3], whole[1:] + b'0'):
        note.write_bytes(damaged)
        found = look_up(make_cache())
        if found is not None:
            check_served(found, frames, must=True)


@pytest.fixture
def heard():
    return []


def test_full_disk_stops_storing_with_one_warning(
    make_cache, store, look_up, frames, monkeypatch, heard, entries, tmp_path
):
    store(make_cache(), frames, tag=1)
    before = {path: path.read_bytes() for path in entries()}

    def fail(*paths):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('mmtvr.files.os.replace', fail)
    caches = [make_cache(warn=heard.append) for _ in range(3)]
    for cache in caches:
        assert store(cache, frames, tag=2) == 0
        assert cache.stopped
        assert look_up(cache, tag=1) is not None
    (message,) = heard
    assert 'No space left' in message
    assert {path: path.read_bytes() for path in entries()} == before
    assert not list((tmp_path / 'cache').glob('*.partial'))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(reserve_gb=1e9), 'is not to be used'),
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


def test_limit_lets_the_longest_unused_entries_make_room(
    make_cache, store, look_up, frames, entries
):
    size = store(make_cache(), frames, tag=0)
    first = entries()
    for tag in range(1, 6):
        store(make_cache(), frames, tag=tag)
    for age, path in enumerate([*first, *({*entries()} - {*first})]):
        # Of the first, the last use is the longest ago.
        os.utime(path, (age + 1, age + 1))
    cache = make_cache(limit_gb=6.5 * size / 1e9)
    assert look_up(cache, tag=3) is not None
    added = [store(cache, frames, tag=tag) for tag in range(6, 11)]
    assert added == [pytest.approx(size, abs=9)] * 5
    assert cache.used_bytes() <= 6.5 * size
    assert look_up(cache, tag=0) is None
    # What this run used or made stays, and is not exchanged for the next.
    for tag in (3, *range(6, 11)):
        assert look_up(cache, tag=tag) is not None
    heard = []
    cache._warn = heard.append
    assert store(cache, frames, tag=11) == 0
    assert cache.stopped
    assert 'is reached' in heard[0]


def test_limit_counts_what_other_processes_add(make_cache, store, frames):
    size = store(make_cache(), frames, tag=0)
    caches = [make_cache(limit_gb=30 * size / 1e9) for _ in range(4)]
    for tag in range(1, 50):
        store(caches[tag % 4], frames, tag=tag)
    used = make_cache().used_bytes()
    assert 20 * size < used < 31 * size


def test_what_killed_writers_left_is_removed_in_time(
    make_cache, store, frames, tmp_path
):
    store(make_cache(), frames)
    old, new = (
        tmp_path / 'cache' / f'{name}.entry.1-a.partial' for name in 'ab'
    )
    for path in (old, new):
        path.touch()
    os.utime(old, (0, 0))
    store(make_cache(), frames, tag=2)
    assert not old.exists()
    assert new.exists()


def test_former_format_is_ignored_with_one_message(
    make_cache, store, look_up, frames, heard, tmp_path
):
    (tmp_path / 'cache').mkdir()
    for name in ('tar', 'frames', 'files', 'lock'):
        (tmp_path / f'cache/host-1000-000.{name}').write_bytes(bytes(99))
    for _ in range(2):
        cache = make_cache(warn=heard.append)
        store(cache, frames)
        assert look_up(cache) is not None
    (message,) = heard
    assert 'can be deleted' in message
    assert (tmp_path / 'cache/host-1000-000.tar').stat().st_size == 99


def test_the_option_host_is_accepted_and_deprecated(make_cache):
    with pytest.warns(DeprecationWarning, match='no effect'):
        make_cache(host='a')


@pytest.fixture(scope='module')
def context():
    """Makes forks; there is none on Windows."""
    return multiprocessing.get_context('fork')


def numbered(number):
    size = 20 + number % 7
    return np.full((3, size, size, 3), number % 251, np.uint8)


def write_numbers(folder, video, numbers):
    cache = FrameCache(str(folder), reserve_gb=0)
    for number in numbers:
        put_frames(cache, cache.ask(video, dict(n=number)), numbered(number))
        assert not cache.stopped


def read_numbers(folder, video, numbers):
    """Those that are stored; each is checked."""
    cache = FrameCache(str(folder), reserve_gb=0)
    found = set()
    for number in numbers:
        entry = cache.find(cache.ask(video, dict(n=number)))
        if entry is not None:
            expected = numbered(number)
            np.testing.assert_array_equal(
                entry.get_frames([0, 3, 6]), expected
            )
            entry.close()
            found.add(number)
    return found


def test_killed_writers_leave_whole_entries(tmp_path, video, context):
    rng = random.Random(0)
    folder = tmp_path / 'cache'
    known = set()
    for round_ in range(5):
        numbers = range(1000 * round_, 1000 * round_ + 1000)
        writer = context.Process(
            target=write_numbers, args=(folder, video, numbers)
        )
        writer.start()
        deadline = time.monotonic() + 30
        while len(list(folder.glob('??/*.entry'))) < len(known) + 4:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.03))
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        entries = read_numbers(folder, video, range(1000 * round_ + 1000))
        assert entries >= known
        assert len(entries) > len(known)
        assert len(entries) == len(list(folder.glob('??/*.entry')))
        known = entries


def test_processes_write_the_same_and_other_entries_at_once(
    tmp_path, video, context
):
    folder = tmp_path / 'cache'
    ranges = [range(0, 60), range(30, 90), range(0, 60)]
    writers = [
        context.Process(target=write_numbers, args=(folder, video, each))
        for each in ranges
    ]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        read_numbers(folder, video, range(0, 90, 7))
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert read_numbers(folder, video, range(90)) == {*range(90)}
    assert len(list(folder.glob('??/*.entry'))) == 90


def test_writers_at_the_limit_do_not_disturb_each_other(
    tmp_path, video, context
):
    folder = tmp_path / 'cache'
    write_numbers(folder, video, range(40))
    for path in folder.glob('??/*.entry'):
        os.utime(path, (1, 1))
    limit = sum(p.stat().st_size for p in folder.glob('??/*.entry')) / 1e9

    def write(numbers):
        cache = FrameCache(str(folder), reserve_gb=0, limit_gb=limit)
        for number in numbers:
            query = cache.ask(video, dict(n=number))
            put_frames(cache, query, numbered(number))

    ranges = range(40, 55), range(45, 60)
    writers = [context.Process(target=write, args=(each,)) for each in ranges]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert read_numbers(folder, video, range(60)) >= {*range(40, 60)}


class Numbers(VideoReader):
    """Forty frames, each filled with its number; counts what is asked."""

    opened = 0
    times = np.arange(40) / 10
    fps = 10.0
    codec = 'none'
    rotation = 90
    original_shape = (4, 6)

    def __init__(self, path, short_side=None):
        super().__init__(path, short_side)
        Numbers.opened += 1

    def __len__(self):
        return 40

    def get_frames(self, indices):
        numbers = np.asarray(indices, np.uint8)[:, None, None, None]
        return np.broadcast_to(numbers, (len(indices), 4, 6, 3))

    def get_times(self):
        return self.times

    def close(self):
        pass


@pytest.fixture
def opening(video, make_cache, monkeypatch):
    """Function that opens the video anew, and the count of real readers."""
    monkeypatch.setattr(Numbers, 'opened', 0)

    def open_again(**options):
        return CachedReader(make_cache(), Numbers, options, video)

    return open_again


def test_all_that_was_asked_is_known_the_second_time(opening):
    for _ in range(2):
        with opening() as reader:
            assert (len(reader), reader.fps, reader.codec) == (40, 10, 'none')
            assert reader.rotation == 90
            frames = reader.get_frames([7, 3, 7])
            assert frames[:, 0, 0, 0].tolist() == [7, 3, 7]
            np.testing.assert_array_equal(reader.get_times(), Numbers.times)
            assert reader.original_shape == (4, 6)
    assert Numbers.opened == 1


def test_what_was_not_asked_comes_from_the_file(opening):
    with opening() as reader:
        reader.get_frames([1])
    with opening() as reader:
        assert reader.is_stored
        assert reader.codec == 'none'
        assert reader.get_frames([2])[0, 0, 0, 0] == 2
    assert Numbers.opened == 2


def test_kept_frames_are_stored_along(opening):
    bounds = np.array([0, 20, 40])
    with opening() as reader:
        moved = reader.move_to_kept(np.array([0, 39]), bounds)
        assert moved.tolist() == [3, 36]
        reader.get_frames(moved)
        assert reader.added_bytes > 0
    with opening() as reader:
        stored = reader.get_frames([3, 10, 16, 23, 30, 36])
    assert stored[:, 0, 0, 0].tolist() == [3, 10, 16, 23, 30, 36]
    assert Numbers.opened == 1


def test_options_that_json_does_not_know_are_found_again(opening):
    for _ in range(2):
        with opening(span=(1, 2), kind=dict) as reader:
            reader.get_frames([5])
    assert Numbers.opened == 1


def test_video_that_turns_out_shorter_is_not_stored(opening, monkeypatch):
    monkeypatch.setattr(Numbers, 'times', Numbers.times[:-1])
    for _ in range(2):
        with opening() as reader:
            assert reader.get_frames([5])[0, 0, 0, 0] == 5
            assert not reader.added_bytes
    assert Numbers.opened == 2


def test_frames_are_evenly_spread():
    bounds = np.array([10, 19, 21, 22])
    assert spread_in_segments(bounds, 3).tolist() == [11, 14, 17, 19, 20, 21]
    assert spread_in_segments(bounds, 1).tolist() == [14, 20, 21]
    assert spread_in_segments(bounds, 99).tolist() == list(range(10, 22))


@pytest.mark.parametrize('total', [12, 13, 40, 331])
@pytest.mark.parametrize('per_segment', [1, 2, 3, 5, 1000])
def test_draws_become_kept_frames_of_their_segment(total, per_segment):
    np.random.seed(0)
    bounds = segment_bounds(total, 12)
    kept = spread_in_segments(bounds, per_segment)
    lengths = np.diff(bounds)
    assert len(kept) == np.minimum(lengths, per_segment).sum()
    for _ in range(50):
        drawn = sample_uniformly(total, 12, random=True)
        snapped = snap_to_spread(drawn, bounds, per_segment)
        assert np.isin(snapped, kept).all()
        assert (bounds[:-1] <= snapped).all()
        assert (snapped < bounds[1:]).all()
        if per_segment == 1000:
            assert (snapped == drawn).all()


@pytest.mark.parametrize('total', [24, 100, 331])
def test_one_frame_of_a_segment_is_near_its_centre(total):
    kept = spread_in_segments(segment_bounds(total, 12), 1)
    centres = sample_uniformly(total, 12)
    assert np.abs(kept - centres).max() <= 1


def test_kept_frames_are_drawn_about_equally_often():
    bounds = np.array([0, 10])
    kept = snap_to_spread(np.arange(10), bounds, 3)
    _, counts = np.unique(kept, return_counts=True)
    assert counts.tolist() == [4, 3, 3]
