"""What the processes of ``tools/data/cache.py`` do with one video."""

import functools
import json
from typing import NamedTuple

from mmtvr.apis.cache_jobs import CacheJob
from mmtvr.datasets.transforms.video import LoadVideoFrames
from mmtvr.registry import TRANSFORMS
from mmtvr.video import UnreadableVideoError
from mmtvr.video.cache import DryFrameCache


class Outcome(NamedTuple):
    """What became of a video.

    Attributes:
        size: Number of bytes that were added, or would be.
        problem: Why the video cannot be read, or None.
        stopped: Whether the cache takes nothing more.
    """

    size: int = 0
    problem: str | None = None
    stopped: bool = False


def is_cached(job: CacheJob) -> bool:
    """Look whether the cache holds a video, which reads the file once.

    Args:
        job: The video.

    Returns:
        Whether it does.
    """
    reader = load_transform(job.transform).open_video(job.filename, job.sample)
    with reader:
        return reader.is_stored


def measure(job: CacheJob) -> Outcome:
    """Tell what a video would take.

    Args:
        job: The video.

    Returns:
        Its size, or why it cannot be read.
    """
    return _cache(load_dry_transform(job.transform), job)


def fill(job: CacheJob) -> Outcome:
    """Put a video into the cache.

    Args:
        job: The video.

    Returns:
        Its size, or why it cannot be read.
    """
    return _cache(load_transform(job.transform), job)


@functools.cache
def load_transform(options: str) -> LoadVideoFrames:
    """Build a transform once per process.

    Args:
        options: JSON of its options.

    Returns:
        The transform.
    """
    return TRANSFORMS.build(json.loads(options))


@functools.cache
def load_dry_transform(options: str) -> LoadVideoFrames:
    """Build a transform with a cache that keeps nothing.

    Args:
        options: JSON of its options.

    Returns:
        The transform.
    """
    transform = TRANSFORMS.build(json.loads(options))
    transform.frame_cache = DryFrameCache(**transform.cache)
    return transform


def _cache(transform: LoadVideoFrames, job: CacheJob) -> Outcome:
    try:
        size = transform.cache_video(job.sample)
    except UnreadableVideoError as error:
        problem = str(error).removeprefix(f'{job.filename}: ')
        return Outcome(problem=problem)
    return Outcome(size, stopped=transform.frame_cache.stopped)
