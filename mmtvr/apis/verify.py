"""The command behind every ``tools/data/<dataset>/verify.py``."""

import argparse
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from mmtvr.datasets.annotations import find_way_out, read_annotations
from mmtvr.datasets.preparation import VideoCaptions
from mmtvr.datasets.preparation.known_counts import (
    best_strict_recall,
    compare_captions,
    compare_videos,
    count_shared_captions,
)
from mmtvr.datasets.video_check import find_problems
from mmtvr.errors import SetupError
from mmtvr.files import write_csv
from mmtvr.sanitize import for_terminal

COLUMNS = (
    'split',
    'videos',
    'captions',
    'missing',
    'unreadable',
    'shared',
    'best R@1',
)
LEGEND = (
    'ok: as many as published; missing, unreadable: video files; shared: '
    'captions that stand at another video too; best R@1: what any system can '
    'reach from text to video without luck.'
)

Splits = Mapping[str, Sequence[VideoCaptions]]
Problems = Mapping[str, str]


def main(dataset: str, arguments: Sequence[str] | None = None) -> int:
    """Verify one data set from the command line.

    Args:
        dataset: Name of the data set, a key of ``KNOWN_COUNTS``.
        arguments: Command line; ``sys.argv`` if None.

    Returns:
        The exit status: 1 when something is missing, unreadable or not as
        many as published.
    """
    options = _parse(dataset, arguments)
    videos = options.videos or options.folder / 'videos'
    report = options.report or options.folder / 'video_problems.csv'
    try:
        splits = read_splits(options.folder)
    except SetupError as error:
        print(f'error: {for_terminal(str(error))}', file=sys.stderr)
        return 1
    problems = check_files(splits, videos, options.workers)
    write_problems(report, problems, splits)
    counts_hold = print_table(dataset, splits, problems)
    if problems:
        print(f'{len(problems)} video files have problems, see {report}')
    return 0 if counts_hold and not problems else 1


def read_splits(folder: Path) -> dict[str, list[VideoCaptions]]:
    """Read every annotation file of a folder.

    Args:
        folder: Where ``prepare.py`` wrote to.

    Returns:
        Split name to its videos, by the names of the files.

    Raises:
        SetupError: If there is no such file or one cannot be read.
    """
    files = sorted(folder.glob('*.json'))
    if not files:
        raise SetupError(
            f'There is no annotation file (*.json) in {folder}; prepare.py '
            'beside this script writes them.'
        )
    return {file.stem: read_annotations(file) for file in files}


def check_files(splits: Splits, folder: Path, workers: int) -> dict[str, str]:
    """Decode a little of every video of any split, each file once.

    What leads out of the folder is not opened.

    Args:
        splits: What the annotation files name.
        folder: Where the videos are.
        workers: Number of processes.

    Returns:
        File name to its problem, for those that have one.
    """
    files = sorted({video.file for each in splits.values() for video in each})
    outside = {
        file: f'outside the folder: {way_out}'
        for file in files
        if (way_out := find_way_out(folder, file))
    }
    files = [file for file in files if file not in outside]
    found = find_problems([folder / file for file in files], workers)
    bar = tqdm(found, total=len(files), desc='videos', mininterval=1)
    problems = zip(files, bar, strict=True)
    return outside | {file: problem for file, problem in problems if problem}


def write_problems(path: Path, problems: Problems, splits: Splits) -> None:
    """List the files with problems; an empty list has only its header.

    Args:
        path: The CSV file.
        problems: File name to problem.
        splits: What the annotation files name.
    """
    rows = []
    for name, problem in problems.items():
        where = [
            split
            for split, videos in splits.items()
            if any(video.file == name for video in videos)
        ]
        rows.append([name, ' '.join(where), problem])
    write_csv(path, ['file', 'splits', 'problem'], rows)


def print_table(dataset: str, splits: Splits, problems: Problems) -> bool:
    """Print one row per split.

    Args:
        dataset: Name of the data set.
        splits: What the annotation files name.
        problems: File name to problem.

    Returns:
        Whether all counts are those that are known.
    """
    table = Table(title=dataset, box=SIMPLE, padding=(0, 1, 0, 0))
    for name in COLUMNS:
        table.add_column(name, justify='left' if name == 'split' else 'right')
    hold = True
    for split, videos in splits.items():
        captions = sum(len(video.captions) for video in videos)
        compared = (
            compare_videos(dataset, split, len(videos)),
            compare_captions(dataset, split, captions),
        )
        hold = hold and not any(' not ' in cell for cell in compared)
        table.add_row(
            split,
            *compared,
            *_count_problems(videos, problems),
            f'{count_shared_captions(videos):,}',
            f'{best_strict_recall(videos):.2f} %',
        )
    console = Console()
    console.print(table)
    console.print(LEGEND)
    return hold


def _count_problems(
    videos: Iterable[VideoCaptions], problems: Problems
) -> tuple[str, str]:
    found = [problems.get(file) for file in {video.file for video in videos}]
    missing = found.count('missing')
    unreadable = len(found) - found.count(None) - missing
    return f'{missing:,}', f'{unreadable:,}'


def _parse(
    dataset: str, arguments: Sequence[str] | None
) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=f'Check what is there of {dataset}.'
    )
    parser.add_argument(
        'folder',
        type=Path,
        nargs='?',
        default=Path('data/video_retrieval', dataset),
        help='folder with the JSON files of prepare.py (default: %(default)s)',
    )
    parser.add_argument(
        '--videos', type=Path, help='folder of the videos (default: videos/)'
    )
    parser.add_argument(
        '--report',
        type=Path,
        help='where to list missing and unreadable videos (default: '
        'video_problems.csv in the folder)',
    )
    parser.add_argument(
        '--workers',
        type=int,
        default=os.cpu_count() or 1,
        help='processes that decode (default: %(default)s)',
    )
    return parser.parse_args(arguments)
