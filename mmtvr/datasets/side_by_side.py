"""Work on many video files at once, each thread with its own helper."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TypeVar

from mmtvr.video.helper_process import interrupt_helpers

Item = TypeVar('Item')
Result = TypeVar('Result')

# Fewer files than this are done before another helper has started.
FILES_THAT_PAY = 20


def count_workers(files: int) -> int:
    """How many helpers are worth starting.

    Args:
        files: Number of files.

    Returns:
        At most one for each core that this process may use, at least one.
    """
    if hasattr(os, 'sched_getaffinity'):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return max(1, min(cores, files // FILES_THAT_PAY))


def work_side_by_side(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    workers: int | None = None,
) -> Iterator[tuple[int, Result]]:
    """Work on all items in threads that wait for their helpers.

    Args:
        work: What to do with an item; reads through a supervised reader.
        items: The items.
        workers: Number of threads; None: as many as pay.

    Yields:
        Position of an item and its result, in the order of completion. What
        ``work`` raises comes through.
    """
    if workers is None:
        workers = count_workers(len(items))
    pool = ThreadPoolExecutor(max(1, workers))
    try:
        places = {
            pool.submit(work, item): place for place, item in enumerate(items)
        }
        for done in as_completed(places):
            yield places.pop(done), done.result()
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        # Or the threads would wait for what they are reading.
        interrupt_helpers()
        raise
    finally:
        pool.shutdown()
