"""Requests: their parameters, errors, and where they wait."""

import asyncio
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from starlette.requests import Request


class PageError(Exception):
    """An error whose message is shown: what is wrong, and what to do."""

    status = 400


class NotIndexedError(PageError):
    """No video of the index has that name."""

    status = 404

    def __init__(self) -> None:
        super().__init__(
            'There is no such video in the index. It may have been removed '
            'since this address was made.'
        )


class ChangedFileError(PageError):
    """An indexed file is not there, or not as it was indexed."""

    status = 410


class BusyError(PageError):
    """Too many requests wait already."""

    status = 503

    def __init__(self) -> None:
        super().__init__(
            'Many people are asking at the same time. Please try again in a '
            'moment.'
        )


MAX_QUERY_LENGTH = 1000
DEFAULT_RESULTS, MAX_RESULTS = 24, 96


def read_query(request: Request) -> str:
    """The text ``q`` without spaces around it; empty if there is none.

    Raises:
        PageError: It is too long.
    """
    text = request.query_params.get('q', '').strip()
    if len(text) > MAX_QUERY_LENGTH:
        raise PageError(
            f'Your text has {len(text)} characters. Please ask with at most '
            f'{MAX_QUERY_LENGTH}: a sentence or two say best what you look '
            'for.'
        )
    return text


def read_count(request: Request) -> int:
    """The number of results ``k``, from 1 to ``MAX_RESULTS``.

    Raises:
        PageError: It is no number.
    """
    value = request.query_params.get('k', str(DEFAULT_RESULTS))
    if not value.isascii() or not value.isdigit() or len(value) > 6:
        raise PageError('k must be a number of results, such as 24.')
    return min(max(int(value), 1), MAX_RESULTS)


def read_time(request: Request) -> float | None:
    """The moment ``t`` in seconds, or None.

    Raises:
        PageError: It is no time.
    """
    value = request.query_params.get('t')
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise PageError('t must be a time in seconds, such as 1.5.')
    return max(0.0, seconds)


Result = TypeVar('Result')


class BoundedExecutor:
    """A thread pool with a queue of bounded length.

    Args:
        name: For the names of the threads.
        max_workers: How many requests work at a time.
        max_waiting: How many more may wait.
    """

    def __init__(self, name: str, max_workers: int, max_waiting: int) -> None:
        self._pool = ThreadPoolExecutor(max_workers, thread_name_prefix=name)
        self._max_pending = max_workers + max_waiting
        self._pending = 0

    async def run(self, work: Callable[..., Result], *args: Any) -> Result:
        """Call ``work(*args)`` in a thread and return its result.

        Raises:
            BusyError: Too many wait already.
        """
        if self._pending >= self._max_pending:
            raise BusyError
        job = self._pool.submit(work, *args)
        self._pending += 1
        # Not in a finally: a request that was broken off still runs.
        loop = asyncio.get_running_loop()
        job.add_done_callback(
            lambda _: loop.is_closed() or loop.call_soon_threadsafe(self._end)
        )
        return await asyncio.wrap_future(job)

    def _end(self) -> None:
        self._pending -= 1

    def close(self) -> None:
        """Let the threads go, without waiting for their work."""
        self._pool.shutdown(wait=False, cancel_futures=True)
