"""Check before a test that its videos can be read, and remember the result."""

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock
from platformdirs import user_cache_path
from tqdm import tqdm

import mmtvr
from mmtvr.video.cache import decoder_versions
from mmtvr.video.decoder_process import kill_decoder_processes

Item = TypeVar('Item')
Result = TypeVar('Result')

# Fewer files than this are done before another process has started.
FILES_PER_WORKER = 20


def count_workers(files: int) -> int:
    """Decoder processes worth starting: at most one for each usable core."""
    if hasattr(os, 'sched_getaffinity'):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return max(1, min(cores, files // FILES_PER_WORKER))


def thread_map(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    workers: int | None = None,
) -> Iterator[tuple[int, Result]]:
    """Map over items in threads that wait for their decoder processes.

    Unlike :func:`concurrent.futures.ThreadPoolExecutor.map` it yields in the
    order of completion, and an interruption kills the processes.

    Args:
        work: What to do with an item; reads through a supervised reader.
        items: The items.
        workers: Number of threads. Defaults to :func:`count_workers`.

    Yields:
        Position of an item and its result. What ``work`` raises is raised.
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
        kill_decoder_processes()
        raise
    finally:
        pool.shutdown()


TABLE = (
    'CREATE TABLE IF NOT EXISTS checked (path BLOB, how TEXT, size INTEGER, '
    'modified INTEGER, at REAL, result TEXT, PRIMARY KEY (path, how))'
)


class CheckedFiles:
    """Results by path, size and time of modification, in a SQLite file.

    Each result is written at once, so that a process that is killed loses
    only the file in work. Several processes may share the database. ``how``
    describes what was checked with which options.

    Args:
        path: The SQLite file; its folder is made if it does not exist.

    Raises:
        OSError: If the file cannot be written or is something else.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        try:
            self._database = sqlite3.connect(path, timeout=60)
            # A crash of the machine may cost results, one of the process not.
            self._database.execute('PRAGMA synchronous = OFF')
            with self._database:
                self._database.execute(TABLE)
                # Fails where the file exists but is read-only.
                self._database.execute('DELETE FROM checked WHERE 0')
        except sqlite3.Error as error:
            raise OSError(f'{path}: {error}') from error

    def get(self, file: str, how: str) -> tuple[str, float] | None:
        """Result and its age in seconds; None for a new or changed file."""
        state = _state(file)
        row = self._database.execute(
            'SELECT size, modified, at, result FROM checked '
            'WHERE path = ? AND how = ?',
            (_key(file), how),
        ).fetchone()
        if row is None or state is None or row[:2] != state:
            return None
        return row[3], time.time() - row[2]

    def put(self, file: str, how: str, result: str) -> None:
        """Keep a result; not that of a file that no longer exists."""
        state = _state(file)
        if state is None:
            return
        with self._database:
            self._database.execute(
                'INSERT OR REPLACE INTO checked VALUES (?, ?, ?, ?, ?, ?)',
                (_key(file), how, *state, time.time(), result),
            )

    def clear(self) -> None:
        """Drop all results."""
        with self._database:
            self._database.execute('DELETE FROM checked')

    def close(self) -> None:
        """Close the database."""
        self._database.close()


def _state(file: str) -> tuple[int, int] | None:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def _key(file: str) -> bytes:
    return os.fsencode(os.path.abspath(file))


CACHE_FOLDER = '.mmtvr_cache'
# A file server may have been away; within this time, as between the processes
# of one run, a failure is still believed.
SECONDS_TO_DISTRUST = 600
SECONDS_UNTIL_BAR = 2


def find_unreadable(
    samples: Sequence[dict],
    pipeline: Sequence[Any],
    ann_file: str,
    title: str = 'Checking test videos',
) -> dict[int, str]:
    """Find the samples that a test could not read.

    Each is read as the test will read it, in parallel, in decoder processes.
    That a sample could be read is remembered beside the annotation file (in
    the user's cache folder if that is read-only) until its file changes; that
    it could not, for ten minutes. Of several processes one reads, the others
    wait and look up.

    Args:
        samples: What enters the pipeline.
        pipeline: The transforms; the first with a ``find_problem``, as
            :class:`LoadVideoFrames`, is asked. Without one nothing is found.
        ann_file: The annotation file.
        title: Of the progress bar.

    Returns:
        Position of the sample to the reason.
    """
    loader = next((t for t in pipeline if hasattr(t, 'find_problem')), None)
    if loader is None:
        return {}
    with _open_results(Path(ann_file)) as checked:
        hows = [_describe(loader, sample) for sample in samples]
        found, unknown = {}, []
        for place, sample in enumerate(samples):
            known = checked.get(sample['filename'], hows[place])
            if known is None or (known[0] and known[1] > SECONDS_TO_DISTRUST):
                unknown.append(place)
            elif known[0]:
                found[place] = known[0]
        work = thread_map(
            loader.find_problem, [samples[place] for place in unknown]
        )
        bar = tqdm(
            work,
            total=len(unknown),
            desc=title,
            delay=SECONDS_UNTIL_BAR,
            mininterval=1,
        )
        for number, problem in bar:
            place = unknown[number]
            # A full disk is no reason to stop.
            with contextlib.suppress(sqlite3.Error):
                file = samples[place]['filename']
                checked.put(file, hows[place], problem or '')
            if problem:
                found[place] = problem
    return dict(sorted(found.items()))


@contextlib.contextmanager
def _open_results(ann_file: Path) -> Iterator[CheckedFiles]:
    beside = ann_file.resolve().parent / CACHE_FOLDER
    with contextlib.ExitStack() as held:
        for folder in (beside, user_cache_path('mmtvr')):
            # A file system may have no locks.
            with contextlib.suppress(OSError, NotImplementedError):
                folder.mkdir(parents=True, exist_ok=True)
                held.enter_context(FileLock(folder / 'checked_videos.lock'))
                checked = CheckedFiles(folder / 'checked_videos.sqlite')
                break
        else:
            checked = CheckedFiles(Path(':memory:'))
        yield held.enter_context(contextlib.closing(checked))


def _describe(loader: Any, sample: dict) -> str:
    span = [sample.get('start'), sample.get('end')]
    return f'{mmtvr.__version__} {decoder_versions()} {loader!r} {span}'
