"""``mmtvr index``: make, update, export or import an index of videos."""

import argparse
from collections.abc import Sequence

from mmtvr.cli.command import add_device, at_least

WHEN_STOPPED = 'what is indexed can be searched, and the same command goes on'
NOTHING_EXPORTED = 'nothing was written; the same command begins anew'
EXAMPLES = """
examples:
  the test videos of moving shapes, with the model that the README trains:
    mmtvr index configs/tpmcl_moving_shapes.py data/moving_shapes/test \\
        --into work_dirs/shapes_index
  your own folder, zero-shot, with CLIP as it was pretrained:
    mmtvr index configs/clip4clip_msrvtt.py ~/Videos --checkpoint none \\
        --into ~/videos_index
  several folders, read by four processes, frames kept in 8 bits:
    mmtvr index CONFIG DIR1 DIR2 --into INDEX --workers 4 --precision int8
  encoding spread over two processes or GPUs:
    torchrun --nproc_per_node 2 -m mmtvr index CONFIG DIR --into INDEX
  without a model:
    mmtvr index --into INDEX --remove DIR_OR_FILE
    mmtvr index --into INDEX --export features.npz
    mmtvr index --into NEW_INDEX --import features.npz
  features with those of captions, which tools/evaluate.py reads:
    mmtvr index --into INDEX --export features.npz --captions test.json

The same command again brings the index up to date: only files that are new or
have another content are encoded, renamed ones are recognised, and those that
are gone leave the index. It may be stopped at any time, and goes on where it
was. Files that cannot be read are listed and stop nothing; they are tried
again when they change, or with --retry. What counts as a video, and all else:
docs/search.md.
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
        usage='mmtvr index CONFIG VIDEOS... --into INDEX [options]',
        description='Encode videos once, so that they can be searched.',
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_sources(parser)
    add_encoding(parser)
    add_settings(parser)
    add_tasks(parser)
    parser.add_argument(
        '--json', action='store_true', help='print the report as JSON'
    )
    # A list may stand behind options too.
    args = parser.parse_intermixed_args(argv)
    without_model = args.remove or args.export or args.import_
    if not without_model and not (args.config and args.videos):
        parser.error('give CONFIG and VIDEOS, or --remove, --export, --import')
    if args.captions and not args.export:
        parser.error('--captions goes with --export')
    if without_model and args.config:
        parser.error('--remove, --export and --import take no CONFIG, VIDEOS')
    return args


def add_sources(parser: argparse.ArgumentParser) -> None:
    """Add what is indexed, and where the index is.

    Args:
        parser: Gets the arguments.
    """
    parser.add_argument('config', nargs='?', help='config file of the model')
    parser.add_argument(
        'videos',
        nargs='*',
        help='folders, video files, or annotation files (.json)',
    )
    parser.add_argument(
        '--into',
        required=True,
        metavar='INDEX',
        help='the index: a folder, made if need be, or the address of an '
        'engine',
    )


def add_encoding(parser: argparse.ArgumentParser) -> None:
    """Add how videos are read and encoded.

    Args:
        parser: Gets the arguments.
    """
    parser.add_argument(
        '--checkpoint',
        metavar='PATH',
        help='a checkpoint, or the work folder of a run: its best checkpoint, '
        'else its last (default: work_dirs/CONFIG); `none` for the '
        'pretrained encoders as they are; with --captions: where that of the '
        'index is now, if it has moved',
    )
    parser.add_argument(
        '--videos-folder',
        metavar='DIR',
        help='where the videos of an annotation file are (default: videos/ '
        'beside it)',
    )
    parser.add_argument(
        '--workers',
        type=at_least(0),
        default=0,
        help='processes that read videos (default: 0, this one)',
    )
    parser.add_argument(
        '--retry',
        action='store_true',
        help='try again what could not be read before, though it is as it was',
    )
    add_device(parser)


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add what is settled when an index is made.

    Args:
        parser: Gets the arguments.
    """
    new = parser.add_argument_group('settings of a new index')
    new.add_argument(
        '--precision',
        choices=('float16', 'int8'),
        help='how the features of frames are kept (default: float16)',
    )
    new.add_argument(
        '--parts',
        type=at_least(1),
        help='vectors that the first stage has of each video, of as many '
        'parts of it in time (default: 4, or 1 for a head that compares '
        'pooled vectors)',
    )


def add_tasks(parser: argparse.ArgumentParser) -> None:
    """Add what is done in place of indexing.

    Args:
        parser: Gets the arguments.
    """
    tasks = parser.add_mutually_exclusive_group()
    tasks.add_argument(
        '--remove',
        nargs='+',
        metavar='PATH',
        help='take files, or all files of folders or annotations, out of the '
        'index; the files themselves stay',
    )
    tasks.add_argument(
        '--export', metavar='NPZ', help='write the features of the index'
    )
    parser.add_argument(
        '--captions',
        metavar='JSON',
        help='with --export: an annotation file, whose captions the model of '
        'the index encodes too',
    )
    tasks.add_argument(
        '--import',
        dest='import_',
        metavar='NPZ',
        help='fill a new index with features that any encoder made',
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``mmtvr index``.

    Args:
        argv: The arguments behind it.

    Returns:
        The exit status.
    """
    args = parse_args(argv)
    # PyTorch takes seconds to import, which --help does not need.
    from mmtvr.cli.command import run_command
    from mmtvr.cli.index_tasks import run_task

    when_stopped = NOTHING_EXPORTED if args.export else WHEN_STOPPED
    return run_command(lambda: run_task(args), when_stopped)
