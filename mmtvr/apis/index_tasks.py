"""What ``mmtvr index`` does, and how it tells of it."""

import argparse
import json
import os
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from shlex import quote

import torch
from mmengine.dist import get_rank
from torch import distributed as dist

from mmtvr.apis.checkpoint import PRETRAINED
from mmtvr.apis.export_index import export_index
from mmtvr.apis.searcher import TextVideoSearcher
from mmtvr.errors import SetupError
from mmtvr.search.addresses import without_secrets
from mmtvr.search.feature_import import import_features
from mmtvr.search.file_changes import find_named
from mmtvr.search.indexing import remove_files
from mmtvr.search.results import IndexReport
from mmtvr.search.store import VideoStore
from mmtvr.search.stores import open_store, require_index
from mmtvr.search.token_bytes import DEFAULT_PRECISION

SHOWN = 10
# A process may wait long for one that has longer videos.
PATIENCE = timedelta(days=30)


def run_task(args: argparse.Namespace) -> None:
    """Do what the command line says and print the report.

    Args:
        args: The arguments of ``mmtvr index``.

    Raises:
        SetupError: Something is missing.
    """
    if args.remove:
        count = remove(open_store(args.into), args.remove)
        report = dict(removed=count)
    elif args.export:
        report = export_index(
            args.into,
            args.export,
            args.captions,
            videos_folder=args.videos_folder,
            checkpoint=args.checkpoint,
            device=args.device,
        )
    elif args.import_:
        source, store = Path(args.import_), open_store(args.into)
        parts = 1 if args.parts is None else args.parts
        precision = args.precision or DEFAULT_PRECISION
        count = import_features(store, source, precision, parts)
        report = dict(imported=count)
    else:
        index(args)
        return
    if args.json:
        print(json.dumps(report))
    else:
        what, *rest = report
        print(
            f'{report[what]} videos {what}'
            + ''.join(f', with {report[each]} {each}' for each in rest)
        )


def remove(store: VideoStore, paths: Sequence[str]) -> int:
    """Take files out of an index.

    Args:
        store: The index.
        paths: Files, folders or annotations, present or gone.

    Returns:
        How many were removed.

    Raises:
        SetupError: There is no index, or nothing of that name in it.
    """
    require_index(store)
    with store.lock():
        entries = list(store.list_files())
        named = find_named(entries, paths)
        if not named:
            raise SetupError(
                f'none of {", ".join(map(repr, paths))} is in {store.url}'
            )
        remove_files(store, named)
        store.tidy()
    return len(named)


def index(args: argparse.Namespace) -> None:
    """Index videos, as one process or one of several.

    Args:
        args: The arguments of ``mmtvr index``.
    """
    checkpoint = choose_checkpoint(args.config, args.checkpoint)
    device = args.device
    if int(os.environ.get('WORLD_SIZE', 1)) > 1:
        dist.init_process_group('gloo', timeout=PATIENCE)
        if device is None and torch.cuda.is_available():
            count = torch.cuda.device_count()
            device = f'cuda:{int(os.environ["LOCAL_RANK"]) % count}'
    searcher = TextVideoSearcher(args.config, checkpoint, device)
    report = searcher.index(
        args.videos,
        args.into,
        videos_folder=args.videos_folder,
        precision=args.precision,
        parts=args.parts,
        workers=args.workers,
        progress=not args.json,
        retry=args.retry,
    )
    if get_rank() > 0:
        return
    if args.json:
        print(json.dumps(report.to_dict()))
    else:
        print(describe(report, without_secrets(args.into)))


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
    if given is not None:
        return None if given == PRETRAINED else given
    folder = Path('work_dirs', Path(config).stem)
    if folder.is_dir():
        return str(folder)
    raise SetupError(
        f'{config} was not trained here: there is no {folder}. Train it '
        f'(`python tools/train.py {config}`), give --checkpoint PATH, or '
        '--checkpoint none for the encoders as they were pretrained'
    )


def describe(report: IndexReport, into: str) -> str:
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
        count = len(report.unreadable)
        lines.append(f'{count} could not be read{_skipped(report)}:')
        listed = list(report.unreadable.items())
        lines += [f'  {path!r}: {why}' for path, why in listed[:SHOWN]]
        if len(listed) > SHOWN:
            more = len(listed) - SHOWN
            lines.append(f'  and {more} more (--json names all)')
    if report.videos:
        lines.append(f'search it: mmtvr search {quote(into)} "a text"')
    elif not report.unreadable:
        lines.append(
            'no video was found: in folders, files count that end like videos '
            'do (.mp4, .mkv, ...); name other files themselves'
        )
    return '\n'.join(lines)


def _skipped(report: IndexReport) -> str:
    if not report.skipped:
        return ''
    return f' ({report.skipped} not tried again; --retry does)'
