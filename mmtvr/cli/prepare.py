"""``mmtvr prepare`` and the scripts ``tools/data/*/prepare.py``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from mmtvr.datasets.annotations import (
    best_strict_recall,
    clean_captions,
    count_shared_captions,
    write_annotation,
)
from mmtvr.datasets.preparation import (
    PARAGRAPHS,
    READERS,
    Splits,
    compare_counts,
)
from mmtvr.errors import SetupError
from mmtvr.sanitize import for_terminal

COLUMNS = (
    *('split', 'videos', 'captions'),
    *('normalized', 'empty', 'shared', 'best R@1'),
)
PUBLISHED = 'ok: as many as published; '
LEGEND = (
    'normalized: white space collapsed; empty: no word left, dropped; shared: '
    'captions that another video has too; best R@1: what any system can reach '
    'from text to video without luck.'
)

EPILOG = """
examples:
  mmtvr prepare table pairs.csv --videos DIR
  mmtvr prepare msrvtt DIR_WITH_ORIGINAL_FILES
"""

BENCHMARK_EXAMPLES = """
examples:
  mmtvr prepare {0} DIR_WITH_ORIGINAL_FILES
  mmtvr prepare {0} DIR --output data/video_retrieval/{0}
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``mmtvr prepare`` and return its exit status."""
    parser = argparse.ArgumentParser(
        'mmtvr prepare',
        description='Bring annotations into the layout that recipes read.',
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage='mmtvr prepare {table,BENCHMARK} ... (each has its own --help)',
    )
    parser.add_argument(
        'source',
        choices=('table', *READERS),
        metavar='{table,BENCHMARK}',
        help='table: your own videos, from a CSV or another layout; a '
        'benchmark: ' + ', '.join(READERS),
    )
    argv = sys.argv[1:] if argv is None else argv
    source = parser.parse_args(argv[:1]).source
    if source == 'table':
        from mmtvr.cli.prepare_table import main as prepare_table

        return prepare_table(argv[1:])
    return prepare_benchmark(source, argv[1:])


def prepare_benchmark(
    dataset: str, arguments: Sequence[str] | None = None
) -> int:
    """Prepare a benchmark, a key of ``READERS``, from the command line.

    The exit status is 1 when something is missing or unreadable.
    """
    parser = argparse.ArgumentParser(
        f'mmtvr prepare {dataset}',
        description=f'Prepare {dataset} from its original annotation files.',
        epilog=BENCHMARK_EXAMPLES.format(dataset),
        formatter_class=argparse.RawDescriptionHelpFormatter,
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
    if dataset in PARAGRAPHS:
        parser.add_argument(
            '--paragraph',
            action='store_true',
            help='join all captions of a video to one paragraph, as '
            'paragraph retrieval does',
        )
    options = parser.parse_args(arguments)
    try:
        splits = READERS[dataset](options.annotations)
        paragraph = getattr(options, 'paragraph', False)
        prepare(dataset, splits, options.output, paragraph=paragraph)
    except SetupError as error:
        print(f'error: {for_terminal(str(error))}', file=sys.stderr)
        return 1
    return 0


def prepare(
    dataset: str, splits: Splits, output: Path, paragraph: bool = False
) -> list[Path]:
    """Clean and write every split and print a table of what it holds.

    Args:
        dataset: Name of the data set.
        splits: Split name to videos as read.
        output: Folder that receives ``<split>.json``, or
            ``<split>_paragraph.json``.
        paragraph: Join all captions of a video to one.

    Returns:
        The files that were written.

    Raises:
        SetupError: A split holds no caption.
    """
    written = []
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
        written.append(output / f'{name}.json')
        write_annotation(written[-1], cleaned, about)
        table.add_row(
            name,
            *compare_counts(dataset, split, len(cleaned), report.captions),
            f'{report.whitespace:,}',
            f'{report.empty:,}',
            f'{count_shared_captions(cleaned):,}',
            f'{best_strict_recall(cleaned):.2f} %',
        )
    console = Console()
    console.print(table)
    console.print((PUBLISHED if dataset in READERS else '') + LEGEND)
    return written
