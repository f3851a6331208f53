"""Which video files of a data set cannot be used, and why."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from mmtvr.datasets.readers import get_reader
from mmtvr.datasets.side_by_side import work_side_by_side
from mmtvr.video import UnreadableVideoError
from mmtvr.video.supervised_reader import supervise

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
