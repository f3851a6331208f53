"""Frames and caches of them."""

import numpy as np
import pytest

from mmtvr.video.cache import FrameCache


@pytest.fixture
def settled(monkeypatch):
    """As if every file had been there for a while."""
    monkeypatch.setattr('mmtvr.video.cache.content.SETTLED_AFTER', -1e9)


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
        facts = dict(indices=[3 * i for i in range(len(frames))], count=40)
        return cache.add(cache.ask(path, options), facts, frames, times)

    return put


@pytest.fixture
def look_up(video):
    """Function that finds the video in a cache."""

    def find(cache, path=video, **options):
        return cache.find(cache.ask(path, options))

    return find
