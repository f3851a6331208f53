"""The commands behind ``tools/data/verify.py`` and those of each data set."""

import argparse
import io
import json
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mmtvr.cli.command import HelpFormatter, run_command
from mmtvr.config import ConfigOptions, load_config, walk
from mmtvr.datasets.annotations import (
    best_strict_recall,
    count_shared_captions,
)
from mmtvr.datasets.preparation import (
    compare_counts,
)
from mmtvr.datasets.verification import (
    ERRORS,
    KINDS,
    TIME_LIMIT,
    Collection,
    Problem,
    collect_benchmark,
    collect_datasets,
    count_problems,
    verify,
)
from mmtvr.datasets.video_check import CheckedFiles
from mmtvr.errors import SetupError
from mmtvr.files import write_atomically, write_csv
from mmtvr.sanitize import for_terminal

STAGES = ('train', 'val', 'test')
STOPPED = 'run it again to go on'
# Lines of the report that are shown too.
SHOWN = 10
EXAMPLES = """
examples:
  mmtvr verify tpmcl_msrvtt
  mmtvr verify CONFIG --strict --ignore short --workers 8
  mmtvr verify CONFIG --cfg-options test_dataloader.dataset.data_root=DIR
"""
CONFIG_LEGEND = """\
Errors: missing: no such file; unreadable: by the reader of the config, also a
span after the end. Warnings: short: fewer frames than asked for, some
repeat or are padded; duplicate: equal content; suspicious: look at it. Each
video counts once in each column."""
BENCHMARK_LEGEND = """\
ok: as many as published; missing, unreadable: video files; shared: captions
that another video has too; best R@1: what any system can reach from text to
video without luck."""

Problems = Mapping[str, Sequence[Problem]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Verify the videos of a config from the command line.

    The exit status is 1 when videos are missing or unreadable, with
    ``--strict`` when anything was found, or the command could not be run.
    """
    options = parse_args(arguments)
    clean = []
    work = lambda: clean.append(verify_config(options))  # noqa: E731
    return run_command(work, STOPPED) or int(not clean[0])


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line of :func:`main`."""
    parser = argparse.ArgumentParser(
        'mmtvr verify',
        description='Find the videos of a config that are missing, '
        'unreadable, too short, duplicated or suspicious. Stopped at any '
        'time, it goes on where it was. Exit status 1: videos are missing or '
        'unreadable, or the command could not be run; all else are warnings.',
        epilog=EXAMPLES,
        formatter_class=HelpFormatter,
    )
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--ignore',
        nargs='+',
        choices=KINDS,
        default=[],
        metavar='KIND',
        help=f'report, but do not fail for: {", ".join(KINDS)}',
    )
    parser.add_argument(
        '--strict', action='store_true', help='fail for warnings too'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=ConfigOptions,
        metavar='KEY=VALUE',
        help='override settings: test_dataloader.dataset.data_root=DIR',
    )
    parser.add_argument(
        '--report',
        type=Path,
        help='where to write PATH.txt, PATH.json and the journal PATH.sqlite '
        '(default: verify in the work folder of the config)',
    )
    parser.add_argument(
        '--workers',
        type=int,
        help='decoder processes (default: one for each core)',
    )
    parser.add_argument(
        '--time-limit',
        type=float,
        default=TIME_LIMIT,
        help='seconds for each look at a file (default: %(default)s)',
    )
    parser.add_argument(
        '--refresh',
        action='store_true',
        help='examine all files again, also those that did not change',
    )
    parser.add_argument('--anew', action='store_true', help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.anew:
        warnings.warn(
            '--anew is now --refresh', DeprecationWarning, stacklevel=2
        )
        options.refresh = True
    return options


def verify_config(options: argparse.Namespace) -> bool:
    """Verify every video of a config and write a report.

    Args:
        options: See :func:`parse_args`.

    Returns:
        Whether no error was found, and with ``strict`` no warning, but of a
        kind that ``ignore`` names.

    Raises:
        SetupError: The config or an annotation file cannot be used, or the
            report cannot be written.
    """
    cfg = load_config(options.config, options.cfg_options)
    base = options.report or Path(cfg.work_dir, 'verify')
    try:
        journal = CheckedFiles(base.with_name(base.name + '.sqlite'))
    except OSError as error:
        raise SetupError(
            f'the report {base} cannot be written: {error}; choose another '
            'place with --report'
        ) from error
    videos = collect_datasets(
        (stage, node)
        for stage in STAGES
        for _, node in walk(
            (cfg.get(f'{stage}_dataloader') or {}).get('dataset')
        )
        if 'type' in node
    )
    if options.refresh:
        journal.clear()
    problems = verify(videos, options.workers, options.time_limit, journal)
    journal.close()
    path = base.with_name(base.name + '.json')
    write_atomically(path, to_json(videos, problems).encode())
    summary, text = summarize(videos, problems), to_text(problems)
    path = base.with_name(base.name + '.txt')
    write_atomically(path, _encode('\n\n'.join([summary, text])))
    kinds = [{each.kind for each in found} for found in problems.values()]
    bad = sum(not found.isdisjoint(ERRORS) for found in kinds)
    parts = [
        summary,
        *filter(None, ['\n'.join(text.split('\n')[:SHOWN])]),
        f'{len(videos.files):,} files: {bad:,} with errors, '
        f'{len(problems) - bad:,} with warnings; all of them in {path}',
    ]
    print(for_terminal('\n\n'.join(parts)))
    failing = set(KINDS if options.strict else ERRORS).difference(
        options.ignore
    )
    return all(failing.isdisjoint(found) for found in kinds)


def summarize(videos: Collection, problems: Problems) -> str:
    """Table, legend and what was not checked, for people."""
    table = _make_table('', 'videos', 'captions', *KINDS)
    counts = count_problems(videos, problems)
    for dataset, row in zip(videos.datasets, counts, strict=True):
        sizes = len(dataset.records), dataset.captions, *row.values()
        table.add_row(Text(dataset.label), *(f'{size:,}' for size in sizes))
    # Wide enough to break no cell in a file.
    console = Console(file=io.StringIO(), width=200)
    console.print(table)
    lines = [line.rstrip() for line in console.file.getvalue().split('\n')]
    parts = ['\n'.join(filter(None, lines)), CONFIG_LEGEND]
    if videos.others:
        parts.append(f'Not checked: {", ".join(sorted(videos.others))}.')
    return '\n\n'.join(parts)


def to_text(problems: Problems) -> str:
    """A line for each problem, by kind."""
    return '\n'.join(
        f'{kind:<10}  {file}: {problem.what}'
        for kind in KINDS
        for file, found in problems.items()
        for problem in found
        if problem.kind == kind
    )


def to_json(videos: Collection, problems: Problems) -> str:
    """The report for programs: data sets with counts, files with problems."""
    counts = count_problems(videos, problems)
    datasets = [
        dict(
            dataset=dataset.label,
            ann_file=dataset.ann_file,
            folder=dataset.folder,
            videos=len(dataset.records),
            captions=dataset.captions,
            **row,
        )
        for dataset, row in zip(videos.datasets, counts, strict=True)
    ]
    files = {
        path: dict(
            datasets=_labels(videos, path),
            findings=[problem._asdict() for problem in found],
        )
        for path, found in problems.items()
    }
    others = sorted(videos.others)
    content = dict(datasets=datasets, not_checked=others, files=files)
    return json.dumps(content, indent=2) + '\n'


def main_benchmark(
    dataset: str, arguments: Sequence[str] | None = None
) -> int:
    """Verify a benchmark that ``prepare.py`` wrote, from the command line.

    The exit status is 1 when something is missing, unreadable or not as many
    as published.

    Args:
        dataset: A key of :data:`mmtvr.datasets.preparation.KNOWN_COUNTS`.
        arguments: Command line; ``sys.argv`` if None.
    """
    parser = argparse.ArgumentParser(
        description=f'Verify the annotations and videos of {dataset}.'
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
    options = parser.parse_args(arguments)
    clean = []
    work = lambda: clean.append(verify_benchmark(dataset, options))  # noqa: E731
    return run_command(work, STOPPED) or int(not clean[0])


def verify_benchmark(dataset: str, options: argparse.Namespace) -> bool:
    """Verify annotations and videos of a benchmark; True if all is well."""
    folder = options.folder
    videos = collect_benchmark(folder, options.videos or folder / 'videos')
    problems = verify(videos, options.workers, thorough=False)
    report = options.report or folder / 'video_problems.csv'
    header = ['file', 'splits', 'problem']
    write_csv(report, header, _csv_rows(videos, problems))
    columns = ('videos', 'captions', *KINDS[:2], 'shared', 'best R@1')
    table = _make_table('split', *columns, title=dataset)
    complete = True
    counts = count_problems(videos, problems)
    for each, row in zip(videos.datasets, counts, strict=True):
        sizes = len(each.records), each.captions
        compared = compare_counts(dataset, each.label, *sizes)
        complete &= not any(' not ' in cell for cell in compared)
        table.add_row(
            Text(for_terminal(each.label)),
            *compared,
            *(f'{row[kind]:,}' for kind in KINDS[:2]),
            f'{count_shared_captions(each.records):,}',
            f'{best_strict_recall(each.records):.2f} %',
        )
    console = Console()
    console.print(table)
    console.print(BENCHMARK_LEGEND)
    if problems:
        print(f'{len(problems)} video files have problems, see {report}')
    return complete and not problems


def _csv_rows(videos: Collection, problems: Problems) -> list[list[str]]:
    rows = []
    for path, found in problems.items():
        splits = ' '.join(_labels(videos, path))
        what = [p.kind if p.kind == 'missing' else p.what for p in found]
        rows.append([videos.files[path][0].file, splits, '; '.join(what)])
    return rows


def _labels(videos: Collection, path: str) -> list[str]:
    numbers = {use.dataset for use in videos.files[path]}
    return sorted(videos.datasets[number].label for number in numbers)


def _make_table(*columns: str, title: str | None = None) -> Table:
    table = Table(title=title, box=SIMPLE, padding=(0, 1, 0, 0))
    for number, name in enumerate(columns):
        table.add_column(name, justify='right' if number else 'left')
    return table


def _encode(text: str) -> bytes:
    return (text.rstrip() + '\n').encode('utf-8', 'surrogateescape')
