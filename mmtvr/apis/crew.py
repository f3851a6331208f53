"""Work on many videos in several processes."""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection, get_context, parent_process
from typing import Any

from mmtvr.errors import SetupError


class Crew:
    """Processes that do the same for many videos, side by side.

    They end with this process, also when it is killed.

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
        self, work: Callable[[Any], Any], jobs: Sequence[Any], chunk: int = 4
    ) -> Iterator[Any]:
        """Do something for each video.

        Args:
            work: A function that can be pickled.
            jobs: What it is given, one after the other.
            chunk: How many a process takes at a time.

        Yields:
            What ``work`` returns, in the order of ``jobs``.

        Raises:
            SetupError: If a process dies.
        """
        if self._pool is None:
            yield from map(work, jobs)
            return
        try:
            yield from self._pool.map(work, jobs, chunksize=chunk)
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


def _end_with_parent() -> None:
    """Leave nobody behind when the command is killed."""

    def wait() -> None:
        connection.wait([parent_process().sentinel])
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
