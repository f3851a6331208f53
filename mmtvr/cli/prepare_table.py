"""``mmtvr prepare table``: your own videos with captions of any layout."""

import argparse
import os
import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from mmtvr.cli.command import run_command
from mmtvr.cli.prepare import prepare
from mmtvr.datasets.annotations import find_path_escape
from mmtvr.datasets.caption_formats import (
    COLUMNS,
    FORMATS,
    CaptionSource,
    LeftOut,
    VideoNames,
    group_by_video,
    read_captions,
)
from mmtvr.errors import SetupError
from mmtvr.files import write_csv
from mmtvr.sanitize import for_terminal

LEFT_OUT = 'left_out.csv'
# Of what is left out, of one kind.
SHOWN = 5
# Fewer in a test: one of them is several points of recall.
FEW_VIDEOS = 50
DESCRIPTION = """
Make a data set of your own videos: find each video, check that it can be
read, divide into train, val and test. What is left out is counted and listed
in left_out.csv; your files are only read.
"""
EPILOG = """
formats, recognised by their content (--format where several fit):
{formats}

examples:
  mmtvr prepare table pairs.csv --videos ~/Videos
  mmtvr train --data data/video_retrieval/pairs

  columns that are not recognised, and a larger test:
    mmtvr prepare table list.csv --videos DIR \\
        --columns file=Clip caption=Was --test 0.2
  subtitles beside the videos, into a folder of your choice:
    mmtvr prepare table ~/Films data/films --language de
"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; that of the process if None."""
    formats = '\n'.join(
        f'  {name:<12}{about}' for name, (_, about) in FORMATS.items()
    )
    parser = argparse.ArgumentParser(
        'mmtvr prepare table',
        description=DESCRIPTION,
        epilog=EPILOG.format(formats=formats),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'source', type=Path, help='file or folder with the captions'
    )
    parser.add_argument(
        'output',
        type=Path,
        nargs='?',
        help='folder of the data set (default: data/video_retrieval/SOURCE)',
    )
    parser.add_argument(
        '--videos',
        type=Path,
        metavar='DIR',
        help='folder of the videos, which stay there',
    )
    parser.add_argument('--format', choices=FORMATS, help='see below')
    parser.add_argument(
        '--columns',
        nargs='+',
        default=[],
        metavar='WHAT=NAME',
        help=f'columns of a table: {", ".join(COLUMNS)}, each by its name or '
        'number from 1',
    )
    parser.add_argument(
        '--encoding', help='of text files (default: found out)'
    )
    parser.add_argument(
        '--language', help='of subtitles: de takes film.de.srt alone'
    )
    for name in ('val', 'test'):
        parser.add_argument(
            f'--{name}',
            type=_share,
            default=0.1,
            metavar='SHARE',
            help=f'part of the videos for {name}, where the captions name '
            'no splits (default: 0.1)',
        )
    parser.add_argument(
        '--split', help='write all into SPLIT.json, not divided'
    )
    parser.add_argument(
        '--ignore-splits',
        action='store_true',
        help='divide again what the captions divide',
    )
    parser.add_argument(
        '--no-read',
        action='store_true',
        help='do not try to read each video',
    )
    parser.add_argument(
        '--yes',
        action='store_true',
        help='do not ask whether columns are right',
    )
    args = parser.parse_intermixed_args(argv)
    columns = dict(each.partition('=')[::2] for each in args.columns)
    for role, name in columns.items():
        if role not in COLUMNS or not name:
            parser.error(
                f'--columns takes WHAT=NAME with {", ".join(COLUMNS)}, got '
                f'{role}={name}'
            )
    args.columns = columns
    return args


def _share(text: str) -> float:
    share = float(text)
    if not 0 <= share < 1:
        raise argparse.ArgumentTypeError(f'{text} is not from 0 to below 1')
    return share


_share.__name__ = 'share'


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    args = parse_args(argv)
    return run_command(lambda: run(args), 'run it again')


def run(args: argparse.Namespace) -> None:
    """Prepare what the command line says, and report it.

    Raises:
        SetupError: Nothing can be used, or a video would be in two splits.
    """
    name = re.sub(r'\W+', '_', args.source.resolve().stem) or 'own'
    output = args.output or Path('data/video_retrieval', name)
    into = output / 'videos'
    source = read_captions(
        args.source,
        args.videos,
        into=into,
        format=args.format,
        columns=args.columns,
        encoding=args.encoding,
        language=args.language,
    )
    notes = [source.format, *source.notes]
    print(for_terminal(f'{args.source}: {"; ".join(notes)}'))
    if source.rows:
        row = source.rows[0]
        print(for_terminal(f'  such as {row.file!r}: {row.caption!r:.100}'))
    if source.guessed and not args.yes and sys.stdin.isatty():
        answer = input('Are these the columns? [Y/n] ').strip().lower()
        if answer in ('n', 'no'):
            raise SetupError(
                'nothing was written; name the columns with --columns '
                'file=NAME caption=NAME'
            )
    if args.ignore_splits or args.split:
        source.rows = [row._replace(split='') for row in source.rows]
    if source.videos is None:
        _write_unchecked(args, source, output)
        return
    # It loads PyTorch, which a table alone does not need.
    from mmtvr.datasets.own_data import (
        STAGES,
        divide,
        find_near_duplicates,
        match_videos,
    )

    link_videos(into, source.videos)
    ann_file = None if args.no_read else output / 'train.json'
    names = VideoNames(source.videos)
    data = match_videos(source, names, ann_file)
    if args.split:
        splits, notes = {args.split: data.splits['']}, []
    else:
        shares = dict(val=args.val, test=args.test)
        splits, notes = divide(data, source.videos, shares)
    stale = [
        str(path)
        for path in (output / f'{name}.json' for name in STAGES)
        if path.stem not in splits and path.exists() and not args.split
    ]
    if stale:
        raise SetupError(
            f'{stale[0]} is of an earlier run, and this one makes none: its '
            'videos may now be on another side. Remove it, or choose another '
            'output folder'
        )
    dataset = output.resolve().name
    prepare(dataset, splits, output)
    named = {video.file for videos in splits.values() for video in videos}
    unused = {*names.files} - named - {each.file for each in data.left_out}
    if unused:
        notes.append(
            f'{len(unused):,} videos of {source.videos} have no caption, such '
            f'as {min(unused)!r}'
        )
    outside = sum(
        find_path_escape(source.videos, file) is not None for file in named
    )
    if outside:
        notes.append(
            f'{outside:,} videos are links out of {source.videos}, which are '
            'read with allow_outside=True in each dataset alone'
        )
    notes += [
        f'the folder {path} cannot be read: {why}'
        for path, why in names.closed.items()
    ]
    few = {
        name: len(splits[name])
        for name in ('val', 'test')
        if len(splits.get(name, ())) in range(1, FEW_VIDEOS)
    }
    if few:
        sizes = ' and '.join(
            f'{n} videos in {name}' for name, n in few.items()
        )
        notes.append(
            f'{sizes}: recall on so few says little, see its 95 % interval in '
            'the report; --val and --test set the shares'
        )
    for note in notes:
        print(for_terminal(f'- {note}'))
    near = find_near_duplicates(splits)
    if near.captions:
        print(
            f'- {near.captions:,} captions differ from one of another video '
            f'by a word at most, {near.across:,} of them from one of another '
            'split; all are kept. Such as:'
        )
    for pair in near.examples:
        print('    ' + ' / '.join(_show(*each) for each in pair))
    report_left_out(data.left_out, output)
    if not args.split:
        print(f'\ntrain on it: mmtvr train --data {quote(str(output))}')


def _show(file: str, caption: str) -> str:
    return for_terminal(f'{caption!r:.60} ({file})')


def _write_unchecked(
    args: argparse.Namespace, source: CaptionSource, output: Path
) -> None:
    """Write captions alone, as names of files say where they belong."""
    if not source.rows:
        first = source.left_out[:1]
        why = ''.join(f'; {each.where}: {each.reason}' for each in first)
        raise SetupError(f'{args.source} holds no row to use{why}')
    found = group_by_video(row._replace(split='') for row in source.rows)
    split = args.split or args.source.stem
    prepare(output.resolve().name, {split: found['']}, output)
    report_left_out(source.left_out, output)
    print(
        '\nWithout --videos DIR no video was looked for and nothing was '
        'divided into train, val and test.'
    )


def report_left_out(left_out: Sequence[LeftOut], output: Path) -> None:
    """Count, show and list what was left out.

    Args:
        left_out: Rows that are not used.
        output: Folder that receives ``left_out.csv``, which is removed where
            nothing is left out.
    """
    path = output / LEFT_OUT
    if not left_out:
        path.unlink(missing_ok=True)
        return
    write_csv(path, LeftOut._fields, left_out)
    counts = Counter(each.kind for each in left_out)
    what = ', '.join(f'{number:,} {kind}' for kind, number in counts.items())
    print(f'\nleft out, all of them in {path}: {what}')
    for kind in counts:
        rows = [each for each in left_out if each.kind == kind]
        for each in rows[:SHOWN]:
            text = f'{each.where}: {each.file!r}, {each.reason}'
            print(for_terminal(f'  {text}'))
        if len(rows) > SHOWN:
            print(f'  and {len(rows) - SHOWN:,} more with {kind}')


def link_videos(link: Path, folder: Path) -> None:
    """Let ``videos`` of the data set lead to the folder of the videos.

    Args:
        link: Where recipes look for them.
        folder: Where they are.

    Raises:
        SetupError: There is something else already.
    """
    if link.exists() and link.resolve() == folder.resolve():
        return
    if os.path.lexists(link):
        raise SetupError(
            f'{link} is there already and does not lead to {folder}: choose '
            'another output folder, or remove it'
        )
    link.parent.mkdir(parents=True, exist_ok=True)
    try:
        link.symlink_to(folder.resolve(), target_is_directory=True)
    except OSError as error:
        raise SetupError(
            f'{link} cannot be made a link to {folder} ({error.strerror}): '
            'put the videos there, and give it as --videos'
        ) from error
