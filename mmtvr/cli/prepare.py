"""The command behind every ``tools/data/<dataset>/prepare.py``."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from mmtvr.datasets.preparation import (
    VideoCaptions,
    clean_captions,
    write_annotation,
)
from mmtvr.datasets.preparation.known_counts import (
    best_strict_recall,
    compare_captions,
    compare_videos,
    count_shared_captions,
)
from mmtvr.errors import SetupError
from mmtvr.sanitize import for_terminal

COLUMNS = (
    'split',
    'videos',
    'captions',
    'mended',
    'empty',
    'shared',
    'best R@1',
)
LEGEND = (
    'ok: as many as published; mended: white space collapsed; empty: no word '
    'left, dropped; shared: captions that stand at another video too; best '
    'R@1: what any system can reach from text to video without luck.'
)

Splits = Mapping[str, Sequence[VideoCaptions]]


def main(
    dataset: str,
    read_splits: Callable[[Path], Splits],
    paragraphs: bool = False,
    arguments: Sequence[str] | None = None,
) -> int:
    """Prepare one data set from the command line.

    Args:
        dataset: Name of the data set, a key of ``KNOWN_COUNTS``.
        read_splits: Reads the original files of a folder.
        paragraphs: Whether ``--paragraph`` is offered.
        arguments: Command line; ``sys.argv`` if None.

    Returns:
        The exit status, 1 when something is missing or unreadable.
    """
    options = _parse(dataset, paragraphs, arguments)
    try:
        splits = read_splits(options.annotations)
        prepare(
            dataset,
            splits,
            options.output,
            paragraph=paragraphs and options.paragraph,
        )
    except SetupError as error:
        print(f'error: {for_terminal(str(error))}', file=sys.stderr)
        return 1
    return 0


def prepare(
    dataset: str,
    splits: Splits,
    output: Path,
    paragraph: bool = False,
    console: Console | None = None,
) -> None:
    """Clean and write every split and print what is in it.

    Args:
        dataset: Name of the data set.
        splits: Split name to videos as read.
        output: Folder that receives ``<split>.json``, or
            ``<split>_paragraph.json``.
        paragraph: Join all captions of a video to one.
        console: Where the table goes; standard output if None.

    Raises:
        SetupError: A split holds no caption.
    """
    console = console or Console()
    table = Table(
        title=f'{dataset}, written to {output}',
        box=SIMPLE,
        padding=(0, 1, 0, 0),
    )
    for name in COLUMNS:
        table.add_column(name, justify='left' if name == 'split' else 'right')
    for split, videos in splits.items():
        cleaned, report = clean_captions(videos)
        if not cleaned:
            raise SetupError(
                f'{dataset}, {split}: none of {len(videos)} videos has a '
                'caption with a word in it'
            )
        if paragraph:
            cleaned = [video.as_paragraph() for video in cleaned]
        name = f'{split}_paragraph' if paragraph else split
        about = {'dataset': dataset, 'split': name}
        write_annotation(output / f'{name}.json', cleaned, about)
        table.add_row(
            name,
            compare_videos(dataset, split, len(cleaned)),
            compare_captions(dataset, split, report.captions),
            f'{report.whitespace:,}',
            f'{report.empty:,}',
            f'{count_shared_captions(cleaned):,}',
            f'{best_strict_recall(cleaned):.2f} %',
        )
    console.print(table)
    console.print(LEGEND)


def _parse(
    dataset: str, paragraphs: bool, arguments: Sequence[str] | None
) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=f'Prepare {dataset} from its original annotation files.'
    )
    parser.add_argument(
        'annotations', type=Path, help='folder with the original files'
    )
    parser.add_argument(
        '--output',
        type=Path,
        default=Path('data/video_retrieval', dataset),
        help='folder for the JSON files (default: %(default)s)',
    )
    if paragraphs:
        parser.add_argument(
            '--paragraph',
            action='store_true',
            help='join all captions of a video to one paragraph, as '
            'paragraph retrieval does',
        )
    return parser.parse_args(arguments)
