"""Requests: what they may ask for, where they wait, how they fail."""

import asyncio
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from starlette.requests import Request


class PageError(Exception):
    """Something that the reader of a page is told.

    The message says what is wrong and what to do about it.
    """

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


LONGEST_QUERY = 1000
SHOWN, MOST_SHOWN = 24, 96


def read_query(request: Request) -> str:
    """Read the text that is searched for.

    Args:
        request: With ``q``.

    Returns:
        The text, without spaces around it; empty if there is none.

    Raises:
        PageError: It is too long.
    """
    text = request.query_params.get('q', '').strip()
    if len(text) > LONGEST_QUERY:
        raise PageError(
            f'Your text has {len(text)} characters. Please ask with at most '
            f'{LONGEST_QUERY}: a sentence or two say best what you look for.'
        )
    return text


def read_count(request: Request) -> int:
    """Read how many results are wanted.

    Args:
        request: With ``k``.

    Returns:
        A number from 1 to ``MOST_SHOWN``.

    Raises:
        PageError: It is none.
    """
    value = request.query_params.get('k', str(SHOWN))
    if not value.isascii() or not value.isdigit() or len(value) > 6:
        raise PageError('k must be a number of results, such as 24.')
    return min(max(int(value), 1), MOST_SHOWN)


def read_time(request: Request) -> float | None:
    """Read a moment.

    Args:
        request: With ``t``.

    Returns:
        Seconds, or None.

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
