"""Read each video of a test set once, before anything depends on it."""

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock
from platformdirs import user_cache_path
from tqdm import tqdm

import mmtvr
from mmtvr.datasets.checked_files import CheckedFiles
from mmtvr.datasets.side_by_side import work_side_by_side
from mmtvr.video.cache import decoder_versions

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
