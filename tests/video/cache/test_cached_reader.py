"""A reader that asks the cache first."""

import numpy as np
import pytest

from mmtvr.video import VideoReader
from mmtvr.video.cache import CachedReader


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
