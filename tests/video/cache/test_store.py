"""Writers that are killed, that write at once, on several machines."""

import multiprocessing
import os
import random
import signal
import time

import numpy as np
import pytest

from mmtvr.video.cache.entry import make_members
from mmtvr.video.cache.store import FrameStore
from mmtvr.video.cache.stored_video import StoredVideo


@pytest.fixture(scope='module')
def context():
    """Makes forks; there is none on Windows."""
    return multiprocessing.get_context('fork')


def key_of(number):
    return number.to_bytes(16, 'big')


def members_of(number):
    size = 20 + number % 7
    frames = np.full((3, size, size, 3), number % 251, np.uint8)
    facts = dict(indices=[0, 1, 2], request=dict(quality=None, number=number))
    return make_members(facts, frames)


def read(store, number):
    """The entry of a number, checked; None if there is none."""
    for shard, place in store.find(key_of(number)):
        video = StoredVideo(shard, place)
        assert video.facts['request']['number'] == number
        frames = video.get_frames([0, 1, 2])
        assert frames.shape[1] == 20 + number % 7
        assert (frames == number % 251).all()
        return frames
    return None


def write_for_ever(folder, start):
    store = FrameStore(folder)
    number = start
    while True:
        store.add(key_of(number), members_of(number))
        store.add_digest(key_of(number), key_of(number + 1))
        number += 1


def write_range(folder, numbers, host=None):
    store = FrameStore(folder, host)
    for number in numbers:
        store.add(key_of(number), members_of(number))


def count_entries(folder):
    store = FrameStore(folder)
    store.refresh()
    keys = [int.from_bytes(key, 'big') for key in store._places]
    for number in keys:
        assert read(store, number) is not None
    for identity, digest in store._digests.items():
        assert int.from_bytes(identity, 'big') + 1 == int.from_bytes(
            digest, 'big'
        )
    return set(keys)


def test_killed_writers_leave_whole_entries(tmp_path, context):
    rng = random.Random(0)
    known = set()
    for round_ in range(5):
        writer = context.Process(
            target=write_for_ever, args=(tmp_path, 10**6 * round_)
        )
        writer.start()
        wait_for_entries(tmp_path, len(known) + 4)
        time.sleep(rng.uniform(0, 0.03))
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        entries = count_entries(tmp_path)
        assert entries >= known
        assert any(number >= 10**6 * round_ for number in entries)
        known = entries
    # The next takes over the file of the one that was killed.
    assert len(list(tmp_path.glob('*.tar'))) == 1


@pytest.mark.parametrize('cut', ['tar', 'frames', 'files'])
def test_writer_goes_on_behind_what_was_cut_off(tmp_path, cut):
    write_range(tmp_path, range(5))
    (path,) = tmp_path.glob(f'*.{cut}')
    with path.open('ab') as file:
        file.write(b'half a record')
    write_range(tmp_path, range(5, 9))
    assert count_entries(tmp_path) == set(range(9))


def test_lost_tail_costs_only_its_entries(tmp_path):
    write_range(tmp_path, range(5))
    (path,) = tmp_path.glob('*.tar')
    os.truncate(path, path.stat().st_size - 3000)
    write_range(tmp_path, range(5, 9))
    store = FrameStore(tmp_path)
    for number in (0, 1, 2, 5, 6, 7, 8):
        assert read(store, number) is not None


def test_processes_write_the_same_and_other_entries_at_once(tmp_path, context):
    ranges = [range(0, 60), range(30, 90), range(0, 60)]
    writers = [
        context.Process(target=write_range, args=(tmp_path, each))
        for each in ranges
    ]
    for writer in writers:
        writer.start()
    seen = FrameStore(tmp_path)
    while any(writer.is_alive() for writer in writers):
        for number in range(0, 90, 7):
            read(seen, number)
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert count_entries(tmp_path) == set(range(90))
    assert all(read(seen, number) is not None for number in range(90))
    assert len(list(tmp_path.glob('*.tar'))) <= 3


def test_machines_see_what_others_wrote(tmp_path):
    first, second = (FrameStore(tmp_path, host) for host in ('a', 'b'))
    first.add(key_of(1), members_of(1))
    second.add(key_of(2), members_of(2))
    assert read(first, 2) is not None
    assert read(second, 1) is not None
    # Machines never write to the file of another, even when it is free.
    first.close()
    second.add(key_of(3), members_of(3))
    names = sorted(path.name for path in tmp_path.glob('*.tar'))
    assert names == ['a-000.tar', 'b-000.tar']
    assert read(FrameStore(tmp_path, 'c'), 3) is not None


def test_two_writers_of_one_file_lose_entries_but_mix_none(
    tmp_path, monkeypatch
):
    """As where a file system grants a lock to two machines."""
    monkeypatch.setattr(
        'filelock.FileLock.acquire', lambda self, *args, **kwargs: None
    )
    first, second = (FrameStore(tmp_path, 'same') for _ in range(2))
    for number in range(20):
        store = (first, second)[number % 2]
        store.add(key_of(number), members_of(number))
    assert len(list(tmp_path.glob('*.tar'))) == 1
    reader = FrameStore(tmp_path)
    found = 0
    for number in range(20):
        for shard, place in reader.find(key_of(number)):
            found += is_whole(shard, place, number)
    assert 0 < found <= 20


def is_whole(shard, place, number):
    from mmtvr.video.cache.shard import DamagedEntryError

    try:
        video = StoredVideo(shard, place)
        frames = video.get_frames([0, 1, 2])
    except DamagedEntryError:
        return False
    assert video.facts['request']['number'] == number
    assert (frames == number % 251).all()
    return True


def test_fork_writes_to_a_file_of_its_own(tmp_path, context):
    store = FrameStore(tmp_path)
    store.add(key_of(1), members_of(1))
    child = context.Process(target=store.add, args=(key_of(2), members_of(2)))
    child.start()
    child.join()
    assert child.exitcode == 0
    store.add(key_of(3), members_of(3))
    assert count_entries(tmp_path) == {1, 2, 3}
    assert len(list(tmp_path.glob('*.tar'))) == 2


def wait_for_entries(folder, count):
    deadline = time.monotonic() + 30
    while len(count_entries(folder)) < count:
        assert time.monotonic() < deadline
        time.sleep(0.005)
