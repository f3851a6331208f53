"""Whether the video files of a data set can be read, before work starts."""

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock
from platformdirs import user_cache_path
from tqdm import tqdm

import mmtvr
from mmtvr.datasets.readers import get_reader
from mmtvr.files import FileStamp
from mmtvr.video import UnreadableVideoError
from mmtvr.video.cache import decoder_versions
from mmtvr.video.helper_process import interrupt_helpers
from mmtvr.video.supervised_reader import supervise

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


TIME_LIMIT = 60.0


def find_problem(
    path: str | Path,
    reader: str | dict = 'auto',
    time_limit: float | None = TIME_LIMIT,
) -> str | None:
    """Look for what would stop a video from being read.

    Args:
        path: A video file.
        reader: Its reader, see :func:`mmtvr.datasets.readers.get_reader`.
        time_limit: Seconds that it may take.

    Returns:
        ``'missing'``, ``'empty'``, or what the decoder says of the first, the
        middle or the last frame; None where there is nothing to say.
    """
    path = Path(path)
    if not path.is_file():
        return 'missing'
    if not path.stat().st_size:
        return 'empty'
    try:
        with supervise(get_reader(reader), time_limit)(path) as video:
            video.get_frames([0, len(video) // 2, len(video) - 1])
    except UnreadableVideoError as error:
        return str(error).removeprefix(f'{path}: ')
    return None


def find_problems(
    paths: Sequence[Path],
    workers: int,
    reader: str | dict = 'auto',
    time_limit: float | None = TIME_LIMIT,
) -> Iterator[str | None]:
    """Look at many files side by side.

    Args:
        paths: Video files.
        workers: Number of helper processes, at least one.
        reader: Their reader.
        time_limit: Seconds that one file may take.

    Yields:
        What :func:`find_problem` says, in the order of ``paths``.
    """
    find = partial(find_problem, reader=reader, time_limit=time_limit)
    found: dict[int, str | None] = {}
    place = 0
    for done, problem in work_side_by_side(find, paths, workers):
        found[done] = problem
        while place in found:
            yield found.pop(place)
            place += 1


TABLE = (
    'CREATE TABLE IF NOT EXISTS checked (path BLOB, how TEXT, size INTEGER, '
    'modified INTEGER, at REAL, result TEXT, PRIMARY KEY (path, how))'
)


class CheckedFiles:
    """Results by path, size and time of modification, in a SQLite file.

    Each result is written at once, so that a process that is killed loses
    what it had not told yet and nothing else. Several processes may share the
    file.

    Args:
        path: The SQLite file; its folder is made if it is not there.

    Raises:
        OSError: If the file cannot be written or is something else.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        try:
            self._base = sqlite3.connect(path, timeout=60)
            # A crash of the machine may cost results, one of the process not.
            self._base.execute('PRAGMA synchronous = OFF')
            with self._base:
                self._base.execute(TABLE)
                # Fails where the file is there but may only be read.
                self._base.execute('DELETE FROM checked WHERE 0')
        except sqlite3.Error as error:
            raise OSError(f'{path}: {error}') from error

    def get(self, file: str, how: str) -> tuple[str, float] | None:
        """Look a result up.

        Args:
            file: Path of the file.
            how: What was checked with which options.

        Returns:
            The result and its age in seconds; None if there is none, or the
            file has changed since or is gone.
        """
        state = _state(file)
        row = self._base.execute(
            'SELECT size, modified, at, result FROM checked '
            'WHERE path = ? AND how = ?',
            (_key(file), how),
        ).fetchone()
        if row is None or state is None or row[:2] != state:
            return None
        return row[3], time.time() - row[2]

    def put(self, file: str, how: str, result: str) -> None:
        """Keep a result; not that of a file that is gone.

        Args:
            file: Path of the file.
            how: What was checked with which options.
            result: Any text.
        """
        state = _state(file)
        if state is None:
            return
        with self._base:
            self._base.execute(
                'INSERT OR REPLACE INTO checked VALUES (?, ?, ?, ?, ?, ?)',
                (_key(file), how, *state, time.time(), result),
            )

    def forget(self) -> None:
        """Drop all results."""
        with self._base:
            self._base.execute('DELETE FROM checked')

    def close(self) -> None:
        """Let go of the file."""
        self._base.close()


def _state(file: str) -> tuple[int, int] | None:
    try:
        stamp = FileStamp.of(os.stat(file))
    except OSError:
        return None
    return stamp.size, stamp.mtime_ns


def _key(file: str) -> bytes:
    return os.fsencode(os.path.abspath(file))


CACHE_FOLDER = '.mmtvr_cache'
# A file server may have been away; within this time, as between the processes
# of one run, they shall agree.
SECONDS_TO_DISTRUST = 600
SECONDS_UNTIL_BAR = 2


def find_unreadable(
    samples: Sequence[dict], pipeline: Sequence[Any], ann_file: str
) -> dict[int, str]:
    """Find the samples that a test could not read.

    Each is read as the test will read it, in parallel, in helper processes.
    That a sample could be read is remembered beside the annotation file (in
    the user's cache folder if that is read-only) until its file changes; that
    it could not, for ten minutes. Of several processes one reads, the others
    wait and look up.

    Args:
        samples: What enters the pipeline.
        pipeline: The transforms; the first that has ``find_problem``, as
            :class:`LoadVideoFrames`, is asked. Without one nothing is found.
        ann_file: The annotation file.

    Returns:
        Position of the sample to the reason.
    """
    loader = next((t for t in pipeline if hasattr(t, 'find_problem')), None)
    if loader is None:
        return {}
    with _remembered(Path(ann_file)) as checked:
        hows = [_describe(loader, sample) for sample in samples]
        found, unknown = {}, []
        for place, sample in enumerate(samples):
            known = checked.get(sample['filename'], hows[place])
            if known is None or (known[0] and known[1] > SECONDS_TO_DISTRUST):
                unknown.append(place)
            elif known[0]:
                found[place] = known[0]
        work = work_side_by_side(
            loader.find_problem, [samples[place] for place in unknown]
        )
        for number, problem in _show(work, len(unknown)):
            place = unknown[number]
            # A full disk is no reason to stop.
            with contextlib.suppress(sqlite3.Error):
                file = samples[place]['filename']
                checked.put(file, hows[place], problem or '')
            if problem:
                found[place] = problem
    return dict(sorted(found.items()))


@contextlib.contextmanager
def _remembered(ann_file: Path) -> Iterator[CheckedFiles]:
    beside = ann_file.resolve().parent / CACHE_FOLDER
    with contextlib.ExitStack() as held:
        for folder in (beside, user_cache_path('mmtvr')):
            # Of a lock, a file system may say that it knows none.
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


def _show(work: Iterator[tuple], total: int) -> Iterator[tuple]:
    return iter(
        tqdm(
            work,
            total=total,
            desc='Checking the videos of the test set, once',
            delay=SECONDS_UNTIL_BAR,
            mininterval=1,
        )
    )
