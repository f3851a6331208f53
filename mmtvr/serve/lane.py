"""Work that blocks, a bounded amount of it at a time."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from mmtvr.serve.errors import BusyError

Result = TypeVar('Result')


class Lane:
    """Threads with a queue of bounded length.

    Args:
        name: For the names of the threads.
        threads: How many requests work at a time.
        waiting: How many more may wait.
    """

    def __init__(self, name: str, threads: int, waiting: int) -> None:
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self.most = threads + waiting
        self.count = 0

    async def run(self, work: Callable[..., Result], *args: Any) -> Result:
        """Do something in a thread.

        Args:
            work: What to do.
            *args: Its arguments.

        Returns:
            Its result.

        Raises:
            BusyError: Too many wait already.
        """
        if self.count >= self.most:
            raise BusyError
        job = self.pool.submit(work, *args)
        self.count += 1
        # Not in a finally: a request that was broken off still runs.
        loop = asyncio.get_running_loop()
        job.add_done_callback(
            lambda _: loop.is_closed() or loop.call_soon_threadsafe(self._end)
        )
        return await asyncio.wrap_future(job)

    def _end(self) -> None:
        self.count -= 1

    def close(self) -> None:
        """Let the threads go, without waiting for their work."""
        self.pool.shutdown(wait=False, cancel_futures=True)
