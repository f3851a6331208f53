"""``mmtvr index``: make or update an index of videos."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmtvr.search.results import IndexReport

STOPPED = 130
PRETRAINED = 'none'
SHOWN = 10
EXAMPLES = """
examples:
  the test videos of moving shapes, with the model that the README trains:
    mmtvr index configs/tpmcl_moving_shapes.py data/moving_shapes/test \\
        --into work_dirs/shapes_index
  your own folder, zero-shot, with CLIP as it was pretrained:
    mmtvr index configs/clip4clip_msrvtt.py ~/Videos --checkpoint none \\
        --into ~/videos.index
  several folders, read by four processes, tokens kept in 8 bits:
    mmtvr index CONFIG DIR1 DIR2 --into INDEX --workers 4 --precision int8
  encoding spread over two processes or GPUs:
    torchrun --nproc_per_node 2 -m mmtvr index CONFIG DIR --into INDEX

The same command again brings the index up to date: only files that are new or
have another content are encoded, renamed ones are recognised, and those that
are gone leave the index. It may be stopped at any time, and goes on where it
was. Files that cannot be read are listed and stop nothing.
"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line.

    Args:
        argv: The arguments behind ``mmtvr index``.

    Returns:
        The arguments.
    """
    parser = argparse.ArgumentParser(
        'mmtvr index',
        description='Encode videos once, so that they can be searched.',
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='config file of the model')
    parser.add_argument(
        'videos',
        nargs='+',
        help='folders, video files, or annotation files (.json)',
    )
    parser.add_argument(
        '--into',
        required=True,
        metavar='INDEX',
        help='the index: a folder, made if need be, or the address of an '
        'engine',
    )
    parser.add_argument(
        '--checkpoint',
        metavar='PATH',
        help='a checkpoint, or the work folder of a run: its best checkpoint, '
        'else its last (default: work_dirs/CONFIG); `none` for the '
        'pretrained encoders as they are',
    )
    parser.add_argument(
        '--videos-folder',
        metavar='DIR',
        help='where the videos of an annotation file are (default: videos/ '
        'beside it)',
    )
    parser.add_argument(
        '--precision',
        choices=('float16', 'int8'),
        default='float16',
        help='how a new index keeps the features of frames',
    )
    parser.add_argument(
        '--workers',
        type=int,
        default=0,
        help='processes that read videos (default: 0, this one)',
    )
    parser.add_argument('--device', help='cpu, cuda or cuda:1')
    parser.add_argument(
        '--json', action='store_true', help='print the report as JSON'
    )
    return parser.parse_args(argv)


def choose_checkpoint(config: str, given: str | None) -> str | None:
    """Choose the weights that a command uses.

    Args:
        config: The config file.
        given: What ``--checkpoint`` says.

    Returns:
        A checkpoint or a work folder; None for pretrained encoders.

    Raises:
        SetupError: Nothing is given and the config was not trained here.
    """
    from mmtvr.errors import SetupError

    if given == PRETRAINED:
        return None
    if given is not None:
        return given
    folder = Path('work_dirs', Path(config).stem)
    if folder.is_dir():
        return str(folder)
    raise SetupError(
        f'{config} was not trained here: there is no {folder}. Train it '
        f'(`python tools/train.py {config}`), give --checkpoint PATH, or '
        '--checkpoint none for the encoders as they were pretrained'
    )


def index(args: argparse.Namespace) -> None:
    """Index as the command line says and print the report.

    Args:
        args: The arguments.
    """
    checkpoint = choose_checkpoint(args.config, args.checkpoint)
    from mmtvr.apis.searcher import TextVideoSearcher

    searcher = TextVideoSearcher(args.config, checkpoint, args.device)
    report = searcher.index(
        args.videos,
        args.into,
        videos_folder=args.videos_folder,
        precision=args.precision,
        workers=args.workers,
        progress=not args.json,
    )
    if args.json:
        print(json.dumps(report.to_dict()))
    else:
        print(describe(report, args.into))


def describe(report: 'IndexReport', into: str) -> str:
    """Put a report into words.

    Args:
        report: What was done.
        into: The index.

    Returns:
        A few lines.
    """
    lines = [
        f'{report.videos} videos in {into}: {report.encoded} encoded, '
        f'{report.reused} known by their content, {report.unchanged} '
        f'unchanged, {report.removed} removed; {report.seconds:.1f} s'
    ]
    if report.unreadable:
        lines.append(f'{len(report.unreadable)} could not be read:')
        listed = list(report.unreadable.items())
        lines += [f'  {path!r}: {why}' for path, why in listed[:SHOWN]]
        if len(listed) > SHOWN:
            lines.append(
                f'  and {len(listed) - SHOWN} more (--json names all)'
            )
    lines.append(f'search it: mmtvr search {into} "a text"')
    return '\n'.join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``mmtvr index``.

    Args:
        argv: The arguments behind it.

    Returns:
        The exit status.
    """
    args = parse_args(argv)
    from mmtvr.errors import SetupError

    try:
        index(args)
    except SetupError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            f'\nstopped. What is in {args.into} can be searched; the same '
            'command goes on.',
            file=sys.stderr,
        )
        sys.stderr.flush()
        # Worker processes and threads of the engine do not delay the end.
        os._exit(STOPPED)
    return 0
