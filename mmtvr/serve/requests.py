"""Requests: their parameters, errors, and where they wait."""

import asyncio
import math
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

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


RETRY_SECONDS = 2
MAX_QUERY_LENGTH = 1000
DEFAULT_RESULTS, MAX_RESULTS = 24, 96
# A page after so many results; what it compares grows with it.
MAX_OFFSET = 960


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


def read_where(request: Request) -> str:
    """The condition ``where``; empty if there is none.

    Raises:
        PageError: It is too long.
    """
    where = request.query_params.get('where', '').strip()
    if len(where) > MAX_QUERY_LENGTH:
        raise PageError(
            f'The condition has {len(where)} characters, at most '
            f'{MAX_QUERY_LENGTH} are taken.'
        )
    return where


def read_offset(request: Request) -> int:
    """How many of the best results are left out, at most ``MAX_OFFSET``.

    Raises:
        PageError: It is no such number.
    """
    value = request.query_params.get('offset', '0')
    if not (value.isascii() and value.isdigit()) or len(value) > 6:
        raise PageError('offset must be a number of results, such as 24.')
    if int(value) > MAX_OFFSET:
        raise PageError(f'offset is at most {MAX_OFFSET}.')
    return int(value)


def read_match(request: Request) -> str:
    """Where a text is looked for.

    Raises:
        PageError: It is none of the three words.
    """
    value = request.query_params.get('match', 'auto') or 'auto'
    if value not in ('auto', 'video', 'text'):
        raise PageError('match must be auto, video or text.')
    return value


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


def client_of(request: Request) -> str:
    """Who asks: the address, as a proxy on this machine may name it."""
    return request.client.host if request.client else ''


Result = TypeVar('Result')
# Questions that are answered together.
MAX_BATCH = 16


class _Job(NamedTuple):
    work: Callable[..., Any]
    arguments: tuple
    answer: asyncio.Future
    is_batched: bool


class FairQueue:
    """What waits, by the client that asked, one of each client in turn."""

    def __init__(self) -> None:
        self._of_clients: OrderedDict[str, deque[_Job]] = OrderedDict()

    def count(self, client: str) -> int:
        """How many jobs of a client wait."""
        return len(self._of_clients.get(client, ()))

    def put(self, client: str, job: _Job) -> None:
        """Add a job behind those of the same client."""
        self._of_clients.setdefault(client, deque()).append(job)

    def take(self, work: Callable[..., Any] | None = None) -> _Job | None:
        """The first job of the client whose turn it is.

        Args:
            work: Pass over clients whose first job is to do something else;
                None for whatever it is.
        """
        for client, jobs in self._of_clients.items():
            if work in (None, jobs[0].work):
                job = jobs.popleft()
                if jobs:
                    self._of_clients.move_to_end(client)
                else:
                    del self._of_clients[client]
                return job
        return None


class BoundedExecutor:
    """A thread pool with a fair queue of bounded length.

    One client may take half of the queue at most.

    Args:
        name: For the names of the threads.
        max_workers: How many requests work at a time.
        max_waiting: How many more may wait.
    """

    def __init__(self, name: str, max_workers: int, max_waiting: int) -> None:
        self._pool = ThreadPoolExecutor(max_workers, thread_name_prefix=name)
        self._max_workers = max_workers
        self._max_waiting = max_waiting
        self._queue = FairQueue()
        self._waiting = self._running = 0
        self._lock = threading.RLock()
        self._is_closed = False

    async def run(
        self, work: Callable[..., Result], *arguments: Any, client: str = ''
    ) -> Result:
        """Call ``work(*arguments)`` in a thread and return its result.

        Args:
            work: What to do.
            *arguments: For it.
            client: Who asks, for the turns.

        Raises:
            BusyError: Too many wait already, or the pool is closed.
        """
        return await self._enqueue(work, arguments, client, False)

    async def run_batched(
        self,
        work: Callable[[list], Sequence[Result | Exception]],
        item: Any,
        client: str = '',
    ) -> Result:
        """Call ``work([item, ...])`` with what else waits for the same.

        Args:
            work: Returns a result, or an exception to raise, for each item.
            item: One of the items.
            client: Who asks, for the turns.

        Raises:
            BusyError: Too many wait already, or the pool is closed.
        """
        return await self._enqueue(work, (item,), client, True)

    async def _enqueue(
        self,
        work: Callable[..., Any],
        arguments: tuple,
        client: str,
        is_batched: bool,
    ) -> Any:
        answer = asyncio.get_running_loop().create_future()
        with self._lock:
            if self._is_closed:
                raise BusyError
            if self._running == self._max_workers and (
                self._waiting >= self._max_waiting
                or self._queue.count(client) >= max(1, self._max_waiting // 2)
            ):
                raise BusyError
            self._queue.put(client, _Job(work, arguments, answer, is_batched))
            self._waiting += 1
        self._start()
        return await answer

    def _start(self) -> None:
        with self._lock:
            while self._running < self._max_workers and not self._is_closed:
                jobs = self._take_jobs()
                if not jobs:
                    return
                # A request that was broken off still runs, and counts.
                self._running += 1
                self._pool.submit(_work, jobs).add_done_callback(self._finish)

    def _take_jobs(self) -> list[_Job]:
        jobs: list[_Job] = []
        while len(jobs) < MAX_BATCH:
            job = self._queue.take(jobs[0].work if jobs else None)
            if job is None:
                break
            self._waiting -= 1
            if not job.answer.done():
                jobs.append(job)
            if jobs and not jobs[0].is_batched:
                break
        return jobs

    def _finish(self, done: Future) -> None:
        # In the thread that did it: the event loop of the request may be
        # gone, and that of another one that was answered with it may differ.
        with self._lock:
            self._running -= 1
        if not done.cancelled():
            for job, result in done.result():
                # A closed loop waits for no answer.
                with suppress(RuntimeError):
                    job.answer.get_loop().call_soon_threadsafe(
                        _answer, job.answer, result
                    )
            self._start()

    def close(self) -> None:
        """Let the threads go, without waiting for their work."""
        with self._lock:
            self._is_closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)


def _answer(answer: asyncio.Future, result: Any) -> None:
    if answer.done():
        return
    if isinstance(result, Exception):
        answer.set_exception(result)
    else:
        answer.set_result(result)


def _work(jobs: Sequence[_Job]) -> list[tuple[_Job, Any]]:
    """Jobs and their results, an exception where one failed."""
    first = jobs[0]
    try:
        if first.is_batched:
            results = first.work([job.arguments[0] for job in jobs])
        else:
            results = [first.work(*first.arguments)]
    except Exception as error:
        results = [error] * len(jobs)
    return list(zip(jobs, results, strict=True))
