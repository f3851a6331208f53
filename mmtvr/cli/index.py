"""``mmtvr index``: make, update, export or import an index of videos."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from mmtvr.cli.command import (
    CHECKPOINT_HELP,
    PRETRAINED,
    add_device,
    at_least,
    check_checkpoint,
    choose_checkpoint,
    note_after_a_while,
    parse_with_files,
)
from mmtvr.errors import SetupError

if TYPE_CHECKING:
    from mmtvr.apis import TextVideoSearcher
    from mmtvr.search.query import IndexReport

# The recipe that needs no training: a text against the mean of the frames.
ZERO_SHOT = 'clip4clip_own'
WHEN_STOPPED = 'what is indexed can be searched, and the same command goes on'
NOTHING_EXPORTED = 'nothing was written; the same command starts again'
# Unreadable videos that are listed.
SHOWN = 10
# A process may wait long for one that has longer videos.
TIMEOUT = timedelta(days=30)
EXAMPLES = """
examples:
  the test videos of moving shapes, with the model that the README trains:
    mmtvr index tpmcl_moving_shapes data/moving_shapes/test/annotations.json \\
        --into work_dirs/shapes_index
  your own folder, zero-shot, with CLIP as it was pretrained:
    mmtvr index --encoder openai/clip-vit-base-patch32 ~/Videos \\
        --into ~/videos_index
  the same with what a run learned:
    mmtvr index work_dirs/dmae_mine ~/Videos --into ~/videos_index
  several folders, read by four processes, frames kept in 8 bits:
    mmtvr index CONFIG DIR1 DIR2 --into INDEX --workers 4 --precision int8
  with columns to filter by (date, place, ...), and texts to search in:
    mmtvr index CONFIG DIR --into INDEX --metadata videos.csv
  long videos in windows of half a minute, for finer moments:
    mmtvr index CONFIG DIR --into INDEX --window 30
  encoding spread over two processes or GPUs:
    torchrun --nproc_per_node 2 -m mmtvr index CONFIG DIR --into INDEX
  a folder that lives: until Ctrl-C, what comes into it is indexed
    mmtvr index CONFIG DIR --into INDEX --watch
  without a model:
    mmtvr index --into INDEX --status
    mmtvr index --into INDEX --remove DIR_OR_FILE
    mmtvr index --into INDEX --export features.npz
    mmtvr index --into NEW_INDEX --import features.npz
  learn what scores mean, from captions that trained nothing:
    mmtvr index --into INDEX --calibrate val.json
    mmtvr index --into http://HOST:19530/clips --switch-to clips_2
  features with those of captions, which tools/evaluate.py reads:
    mmtvr index --into INDEX --export features.npz --captions test.json

The same command again brings the index up to date: only files that are new or
have another content are encoded, renamed ones are recognised, and those that
are gone leave the index. It may be stopped at any time, and goes on where it
was. Files that cannot be read are listed and stop nothing; they are tried
again when they change, or with --retry. What counts as a video, and all else:
docs/how-to/search.md.
"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the arguments behind ``mmtvr index``."""
    parser = argparse.ArgumentParser(
        'mmtvr index',
        usage='mmtvr index {CONFIG | --encoder NAME} VIDEOS... --into INDEX '
        '[options]',
        description='Encode videos once, so that they can be searched.',
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'config',
        nargs='?',
        help='config file of the model, the work folder of a run, or the '
        'folder of a retriever (mmtvr export)',
    )
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
    parser.add_argument(
        '--encoder',
        metavar='NAME',
        help='in place of CONFIG: a pretrained dual encoder as it is, by its '
        'name or folder; a text is compared with the mean of the frames',
    )
    parser.add_argument(
        '--checkpoint',
        metavar='PATH',
        help=f'{CHECKPOINT_HELP}; with --captions: where that of the index '
        'is now, if it has moved',
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
        '--watch',
        nargs='?',
        type=at_least(1),
        const=5,
        metavar='SECONDS',
        help='go on, and take in files that come, change or go: look every 5 '
        'seconds, or so many, until stopped',
    )
    parser.add_argument(
        '--retry',
        action='store_true',
        help='try again what could not be read before, though it is as it was',
    )
    parser.add_argument(
        '--metadata',
        metavar='TABLE',
        help='a .csv or .json with columns of the videos, to filter by and to '
        'search in',
    )
    parser.add_argument(
        '--text-columns',
        metavar='NAMES',
        help='columns whose text is searched, with commas between (default: '
        'title, description, tags and others of such names); `name` and '
        '`folder` are those of the files',
    )
    add_device(parser)
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
    new.add_argument(
        '--window',
        type=float,
        metavar='SECONDS',
        help='videos that are longer are encoded as a whole and in windows of '
        'this length (default: 60; 0: as a whole only)',
    )
    new.add_argument(
        '--overlap',
        type=float,
        metavar='SECONDS',
        help='what a window has in common with the next one (default: a third '
        'of the window)',
    )
    tasks = parser.add_mutually_exclusive_group()
    tasks.add_argument(
        '--remove',
        nargs='+',
        metavar='PATH',
        help='take files, or all files of folders or annotations, out of the '
        'index; the files themselves stay',
    )
    tasks.add_argument(
        '--status',
        action='store_true',
        help='say what is in the index, what failed and why, and how far a '
        'process is that indexes',
    )
    tasks.add_argument(
        '--export', metavar='NPZ', help='write the index and its features'
    )
    tasks.add_argument(
        '--calibrate',
        metavar='JSON',
        help='learn from an annotation file, whose videos are in the index '
        'and whose captions trained nothing, how probable a score makes it '
        'that a video shows what is asked; kept in the index and beside the '
        'checkpoint',
    )
    tasks.add_argument(
        '--hubness',
        metavar='JSON',
        help='measure by the captions of an annotation file, those of the '
        'training, which videos come first whatever is asked; `mmtvr search '
        '--nnn` then ranks them lower',
    )
    tasks.add_argument(
        '--import',
        dest='import_',
        metavar='NPZ',
        help='fill a new index with an exported one, or with features that '
        'any encoder made',
    )
    tasks.add_argument(
        '--switch-to',
        metavar='NAME',
        help='make the address INDEX, in Milvus or PostgreSQL, a name of the '
        'index NAME of the same server, as after a rebuild with a new model',
    )
    parser.add_argument(
        '--captions',
        metavar='JSON',
        help='with --export: an annotation file, whose captions the model of '
        'the index encodes too',
    )
    parser.add_argument(
        '--json', action='store_true', help='print the report as JSON'
    )
    args = parse_with_files(parser, argv)
    if args.encoder and args.config:
        args.videos, args.config = [args.config, *args.videos], None
    if args.encoder and args.checkpoint:
        parser.error('--encoder takes no --checkpoint: it is as pretrained')
    without_model = any(
        (
            *(args.remove, args.export, args.import_, args.switch_to),
            *(args.status, args.calibrate, args.hubness),
        )
    )
    if not without_model and not (
        (args.config or args.encoder) and args.videos
    ):
        parser.error(
            'give CONFIG (or --encoder NAME) and VIDEOS, or --status, '
            '--remove, --export, --import, --switch-to, --calibrate, '
            '--hubness'
        )
    if args.captions and not args.export:
        parser.error('--captions goes with --export')
    if args.text_columns and not args.metadata:
        parser.error('--text-columns goes with --metadata')
    if without_model and (args.config or args.encoder):
        parser.error(
            '--status, --remove, --export, --import, --switch-to, '
            '--calibrate and --hubness take no CONFIG, VIDEOS'
        )
    return args


def run(args: argparse.Namespace) -> None:
    """Do what the command line says and print the report."""
    from mmtvr import apis

    if args.status:
        status = apis.describe_index(args.into)
        print(json.dumps(status) if args.json else describe_status(status))
        return
    if args.remove:
        count = apis.remove_from_index(args.into, args.remove)
        report = dict(removed=count)
    elif args.export:
        report = apis.export_index(
            args.into,
            args.export,
            args.captions,
            videos_folder=args.videos_folder,
            checkpoint=args.checkpoint,
            device=args.device,
        )
    elif args.calibrate:
        report = apis.calibrate_index(
            args.into,
            args.calibrate,
            videos_folder=args.videos_folder,
            checkpoint=args.checkpoint,
            device=args.device,
        )
        if not args.json:
            print(describe_calibration(report))
            return
    elif args.hubness:
        count = apis.measure_hubness(
            args.into,
            args.hubness,
            checkpoint=args.checkpoint,
            device=args.device,
        )
        report = dict(measured=count)
    elif args.import_:
        count = apis.import_index(
            args.into,
            args.import_,
            precision=args.precision,
            parts=args.parts,
            metadata=args.metadata,
            text_columns=args.text_columns and args.text_columns.split(','),
        )
        report = dict(imported=count)
    elif args.switch_to:
        apis.switch_index(args.into, args.switch_to)
        if args.json:
            print(json.dumps(dict(switched_to=args.switch_to)))
        else:
            print(f'who opens this address now opens {args.switch_to}')
        return
    else:
        _index(args)
        return
    if args.json:
        print(json.dumps(report))
    else:
        what, *rest = report
        print(
            f'{report[what]} videos {what}'
            + ''.join(
                f', with {report[each]} {each.replace("_", " ")}'
                for each in rest
            )
        )


def _index(args: argparse.Namespace) -> None:
    """Index videos, as one process or one of several."""
    checkpoint = None
    if args.encoder is None:
        checkpoint = choose_checkpoint(args.config, args.checkpoint)
        check_checkpoint(checkpoint)
    for video in args.videos:
        if not os.path.exists(video):
            raise SetupError(
                f'there is no folder or file {video!r} (looked from '
                f'{Path.cwd()})'
            )
    from mmtvr.apis import TextVideoSearcher
    from mmtvr.config import find_config, load_config
    from mmtvr.search.stores import hide_secrets

    rank, device = 0, args.device
    if int(os.environ.get('WORLD_SIZE', 1)) > 1:
        import torch
        from torch import distributed as dist

        dist.init_process_group('gloo', timeout=TIMEOUT)
        rank = dist.get_rank()
        if device is None and torch.cuda.is_available():
            count = torch.cuda.device_count()
            device = f'cuda:{int(os.environ["LOCAL_RANK"]) % count}'
    with note_after_a_while('loading the model ...'):
        model = args.config
        if args.encoder is not None:
            model = load_config(ZERO_SHOT, {'model.encoder': args.encoder})
        elif args.checkpoint == PRETRAINED:
            model = find_config(args.config)
        searcher = TextVideoSearcher(model, checkpoint, device)
    if rank == 0 and not args.json:
        name, found = (
            searcher.encoder.info['name'],
            searcher.encoder.checkpoint,
        )
        weights = f'weights {found}' if found else 'pretrained weights'
        print(f'model: {name} with {weights}', flush=True)
    options = dict(
        videos_folder=args.videos_folder,
        precision=args.precision,
        parts=args.parts,
        window=args.window,
        overlap=args.overlap,
        workers=args.workers,
        progress=not args.json,
        retry=args.retry,
        metadata=args.metadata,
        text_columns=args.text_columns and args.text_columns.split(','),
    )
    if args.watch:
        _watch(args, searcher, options)
        return
    report = searcher.index(args.videos, args.into, **options)
    if rank > 0:
        return
    if args.json:
        print(json.dumps(report.to_dict()))
    else:
        print(describe(report, hide_secrets(args.into)))
    if not report.videos:
        raise SetupError(
            f'there is nothing to search: none of {len(report.unreadable)} '
            'files could be read'
        )


def describe_calibration(report: dict[str, Any]) -> str:
    """Put what scores mean into a few lines."""
    lines = [
        f'fitted to {report["queries"]} captions, searched in '
        f'{report["videos"]} videos; expected calibration error '
        f'{report["error"]:.3f}',
        f'a best hit is more probably right than wrong from a score of '
        f'{report["cut_off"]:.3f} on',
        'probability  right    hits',
    ]
    lines += [
        f'{probability:11.0%}  {share:5.0%}  {count:6d}'
        for probability, share, count in report['reliability']
    ]
    lines += [
        f'for {share:.0%} of the captions the best video is '
        + (
            'the first candidate'
            if count == 1
            else f'among {count} candidates'
        )
        for share, count in report['candidates']
    ]
    return '\n'.join(lines)


def _watch(
    args: argparse.Namespace,
    searcher: 'TextVideoSearcher',
    options: dict[str, Any],
) -> None:
    """Index again and again, and report what has changed."""
    from mmtvr.search.stores import hide_secrets

    if int(os.environ.get('WORLD_SIZE', 1)) > 1:
        raise SetupError('--watch is for one process, not for torchrun')
    # A bar for each new file would be all that is seen.
    options['progress'] = False
    passes = searcher.watch(
        args.videos, args.into, seconds=args.watch, **options
    )
    for number, report in enumerate(passes):
        if isinstance(report, SetupError):
            print(f'error: {report}', file=sys.stderr, flush=True)
        elif args.json:
            print(json.dumps(report.to_dict()), flush=True)
        elif not number or report.encoded or report.reused or report.removed:
            print(describe(report, hide_secrets(args.into)), flush=True)
        if not number and not args.json:
            print('watching; Ctrl-C stops', flush=True)


def describe_status(status: dict[str, Any]) -> str:
    """Put what :func:`mmtvr.apis.describe_index` says into lines."""
    lines = [
        f'{status["videos"]} videos ({status["contents"]} different) in '
        f'{status["index"]}, encoded by {status["model"]}'
    ]
    sources = list(status['sources'].items())
    lines += [f'  {count} of {name}' for name, count in sources[:SHOWN]]
    if len(sources) > SHOWN:
        lines.append(f'  and {len(sources) - SHOWN} more (--json names all)')
    columns = ', '.join(sorted(status['columns'])) or 'none'
    lines.append(f'columns: {columns}; {status["with_text"]} have text')
    failed = list(status['failed'].items())
    if failed:
        lines.append(f'{len(failed)} could not be read:')
        lines += [f'  {path!r}: {why}' for path, why in failed[:SHOWN]]
        if len(failed) > SHOWN:
            lines.append(f'  and {len(failed) - SHOWN} more (--json)')
        lines.append(
            'they are tried again when they change; to try them now, run the '
            'command that made the index with --retry'
        )
    now = status['indexing']
    if now is not None:
        what = (
            'being indexed'
            if now['is_running']
            else ('the last pass was broken off; the same command goes on')
        )
        lines.append(
            f'{what}: {now["done"]} of {now["total"]} new or changed files, '
            f'{now["failed"]} of them could not be read'
        )
    return '\n'.join(lines)


def describe(report: 'IndexReport', index: str) -> str:
    """Put a report on an index into a few lines."""
    from mmtvr.files import describe_others

    lines = [
        f'{report.videos} videos in {index}: {report.encoded} encoded, '
        f'{report.reused} known by their content, {report.unchanged} '
        f'unchanged, {report.removed} removed; {report.seconds:.1f} s'
    ]
    if report.windows:
        lines.append(f'{report.windows} windows of long videos encoded')
    if report.unreadable_windows:
        count = len(report.unreadable_windows)
        lines.append(f'{count} long videos were not read everywhere:')
        lines += [
            f'  {path!r}: {why}'
            for path, why in report.unreadable_windows.items()
        ]
    if report.unreadable:
        skipped = ''
        if report.skipped:
            skipped = f' ({report.skipped} not tried again; --retry does)'
        lines.append(f'{len(report.unreadable)} could not be read{skipped}:')
        listed = list(report.unreadable.items())
        lines += [f'  {path!r}: {why}' for path, why in listed[:SHOWN]]
        if len(listed) > SHOWN:
            more = len(listed) - SHOWN
            lines.append(f'  and {more} more (--json names all)')
    if report.others:
        lines.append(
            'left out, as their names do not end like those of videos: '
            + describe_others(report.others)
        )
    lines += describe_metadata(report)
    if report.videos:
        lines.append(f'search it: mmtvr search {quote(index)} "a text"')
    return '\n'.join(lines)


def describe_metadata(report: 'IndexReport') -> list[str]:
    """Say what of a table and of subtitles was not used."""
    lines = []
    fit = report.metadata
    if fit.matched or fit.unknown:
        lines.append(
            f'{fit.matched} videos have columns of the table, {fit.without} '
            f'have none; {len(fit.unknown)} rows name no video of the index'
        )
        lines += [f'  {name!r}' for name in fit.unknown[:SHOWN]]
        if len(fit.unknown) > SHOWN:
            lines.append(f'  and {len(fit.unknown) - SHOWN} more (--json)')
    broken = report.unreadable_subtitles
    if broken:
        lines.append(f'{len(broken)} subtitles could not be read:')
        some = list(broken.items())[:SHOWN]
        lines += [f'  {path!r}: {why}' for path, why in some]
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``mmtvr index`` and return its exit status."""
    args = parse_args(argv)
    # What is imported for it is not needed by --help.
    from mmtvr.cli.command import run_command

    when_stopped = NOTHING_EXPORTED if args.export else WHEN_STOPPED
    return run_command(lambda: run(args), when_stopped)
