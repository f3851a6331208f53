"""What the processes of ``tools/data/cache.py`` do with one video."""

import functools
import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection, get_context, parent_process
from typing import Any, NamedTuple

from mmtvr.apis.cache_jobs import CacheJob
from mmtvr.datasets.transforms.video import LoadVideoFrames
from mmtvr.errors import SetupError
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


class Crew:
    """Processes that do the same for many videos, side by side.

    Args:
        workers: Number of processes; 0 for this one.
    """

    def __init__(self, workers: int) -> None:
        self._pool: ProcessPoolExecutor | None = None
        if workers:
            # A decoder that has threads does not survive a fork.
            self._pool = ProcessPoolExecutor(
                workers, get_context('spawn'), initializer=_end_with_parent
            )

    def run(
        self, work: Callable[[CacheJob], Any], jobs: Sequence[CacheJob]
    ) -> Iterator[Any]:
        """Do something for each video.

        Args:
            work: A function of this module.
            jobs: The videos.

        Yields:
            What ``work`` returns, in the order of ``jobs``.

        Raises:
            SetupError: If a process dies.
        """
        if self._pool is None:
            yield from map(work, jobs)
            return
        try:
            yield from self._pool.map(work, jobs, chunksize=4)
        except BrokenProcessPool as error:
            raise SetupError(
                'one of the processes was killed, perhaps for lack of '
                'memory; run the command again to go on, with fewer --workers'
            ) from error

    def __enter__(self) -> 'Crew':
        return self

    def __exit__(self, *error: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


def _cache(transform: LoadVideoFrames, job: CacheJob) -> Outcome:
    try:
        size = transform.cache_video(job.sample)
    except UnreadableVideoError as error:
        problem = str(error).removeprefix(f'{job.filename}: ')
        return Outcome(problem=problem)
    return Outcome(size, stopped=transform.frame_cache.stopped)


def _end_with_parent() -> None:
    """Leave nobody behind when the command is killed."""

    def wait() -> None:
        connection.wait([parent_process().sentinel])
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
