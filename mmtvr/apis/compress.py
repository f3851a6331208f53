"""The command behind ``tools/data/compress.py``."""

import argparse
import csv
import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from mmtvr.apis.compression_log import CompressionLog
from mmtvr.apis.crew import Crew
from mmtvr.apis.video_folder import check_folders, find_videos
from mmtvr.datasets.readers import get_reader
from mmtvr.errors import SetupError
from mmtvr.video import UnreadableVideoError
from mmtvr.video.compression import Compression, LossyCopyError, compress_video
from mmtvr.video.supervised_reader import supervise

READER = 'auto'
PROBLEMS = 'not_compressed.csv'
NAMES_SHOWN = 5


class CopyJob(NamedTuple):
    """One video to compress.

    Attributes:
        source: Path of the video.
        target: Path of the copy.
    """

    source: str
    target: str


class CopyOutcome(NamedTuple):
    """What became of it.

    Attributes:
        size: Number of bytes of the copy.
        problem: Why there is none, or None.
    """

    size: int = 0
    problem: str | None = None


def main(arguments: Sequence[str] | None = None) -> None:
    """Compress the videos of a folder.

    Args:
        arguments: Command line; ``sys.argv`` if None.

    Raises:
        SetupError: The folders are not usable, or some videos have no copy.
    """
    options = _parse(arguments)
    how = Compression(
        options.fps, options.short_side, options.crf, options.min_psnr
    )
    check_folders(options.folder, options.output)
    files, others = find_videos(options.folder)
    if not files:
        raise SetupError(f'there is no video in {options.folder}')
    log = CompressionLog(options.output, how._asdict())
    print(f'{len(files):,} videos; {others:,} other files are left alone')
    problems = compress_all(
        files,
        options.folder,
        options.output,
        log,
        functools.partial(copy_video, how=how, time_limit=options.time_limit),
        options.workers,
    )
    report = options.output / PROBLEMS
    write_problems(report, problems)
    if problems:
        shown = '\n'.join(
            f'  {file}: {problem}'
            for file, problem in list(problems.items())[:NAMES_SHOWN]
        )
        raise SetupError(
            f'{len(problems)} of {len(files)} videos have no copy; {report} '
            f'lists them, and the sources are as they were:\n{shown}'
        )
    print(f'{options.output} holds copies of all, checked.')


def copy_video(
    job: CopyJob, how: Compression, time_limit: float
) -> CopyOutcome:
    """Compress one video.

    Args:
        job: The video.
        how: Rate, size and quality.
        time_limit: Seconds that reading it may take.

    Returns:
        Size of the copy, or why there is none.

    Raises:
        SetupError: If the disk is full, or the like.
    """
    open_reader = supervise(get_reader(READER), time_limit)
    try:
        size = compress_video(job.source, job.target, open_reader, how)
    except UnreadableVideoError as error:
        problem = str(error).removeprefix(f'{job.source}: ')
        return CopyOutcome(problem=f'unreadable: {problem}')
    except LossyCopyError as error:
        return CopyOutcome(problem=f'failed the check: {error}')
    except OSError as error:
        raise SetupError(f'{job.target} cannot be written: {error}') from error
    return CopyOutcome(size)


def compress_all(
    files: Sequence[str],
    source: Path,
    output: Path,
    log: CompressionLog,
    copy: functools.partial,
    workers: int,
) -> dict[str, str]:
    """Compress what has no copy yet, and show how it goes.

    Args:
        files: Names relative to both folders.
        source: Folder of the videos.
        output: Folder of the copies.
        log: What is finished.
        copy: :func:`copy_video` with all but its first argument.
        workers: Number of processes; 0 for this one.

    Returns:
        File to problem.
    """
    left = [file for file in files if not log.is_done(file, source / file)]
    if len(left) < len(files):
        print(f'{len(files) - len(left):,} have a copy from before')
    jobs = [CopyJob(str(source / file), str(output / file)) for file in left]
    problems, read, written = {}, 0, 0
    with Crew(min(workers, len(left))) as crew:
        outcomes = crew.run(copy, jobs, 1)
        bar = tqdm(outcomes, 'compressing', len(jobs), unit='video')
        for file, outcome in zip(left, bar, strict=True):
            if outcome.problem is not None:
                problems[file] = outcome.problem
                continue
            log.add(file, source / file)
            read += os.path.getsize(source / file)
            written += outcome.size
            bar.set_postfix_str(f'{written / read:.0%} of the size', False)
    return problems


def write_problems(path: Path, problems: dict[str, str]) -> None:
    """List videos without a copy; an empty list has only its header.

    Args:
        path: The CSV file.
        problems: File to problem.
    """
    with path.open('w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file)
        writer.writerow(['file', 'problem'])
        writer.writerows(problems.items())


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Re-encode the videos of a folder to few and small '
        'frames, without sound, and check every copy.'
    )
    parser.add_argument('folder', type=Path, help='folder of the videos')
    parser.add_argument('output', type=Path, help='folder for the copies')
    for name, default, unit in (
        ('fps', 3.0, 'frames per second; slower videos keep theirs'),
        ('min-psnr', 28.0, 'decibels to agree with the source at least'),
        ('time-limit', 600.0, 'seconds that reading a video may take'),
    ):
        parser.add_argument(
            f'--{name}',
            type=float,
            default=default,
            help=f'{unit} (default: %(default)g)',
        )
    for name, default, unit in (
        ('short-side', 224, 'pixels; smaller videos keep their size'),
        ('crf', 20, 'constant rate factor of x264'),
        ('workers', os.cpu_count() or 1, 'processes'),
    ):
        parser.add_argument(
            f'--{name}',
            type=int,
            default=default,
            help=f'{unit} (default: %(default)s)',
        )
    return parser.parse_args(arguments)
