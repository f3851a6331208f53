"""Which video files of a data set cannot be used, and why."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from mmtvr.video import DecordReader, UnreadableVideoError


def find_problem(path: str | Path) -> str | None:
    """Look for what would stop a video from being read.

    Args:
        path: A video file.

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
        reader = DecordReader(path)
        reader.get_frames([0, len(reader) // 2, len(reader) - 1])
    except UnreadableVideoError as error:
        return str(error).removeprefix(f'{path}: ')
    return None


def find_problems(paths: Sequence[Path], workers: int) -> Iterator[str | None]:
    """Look at many files side by side.

    Args:
        paths: Video files.
        workers: Number of processes; 0 for this one.

    Yields:
        What :func:`find_problem` says, in the order of ``paths``.
    """
    if not workers:
        yield from map(find_problem, paths)
        return
    # A decoder that has threads does not survive a fork.
    with ProcessPoolExecutor(workers, get_context('spawn')) as pool:
        yield from pool.map(find_problem, paths, chunksize=8)
