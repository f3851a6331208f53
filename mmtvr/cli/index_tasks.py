"""What ``mmtvr index`` does, and how it reports it."""

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

from mmtvr.apis.searcher import TextVideoSearcher, open_searcher
from mmtvr.checkpoints import PRETRAINED
from mmtvr.errors import SetupError
from mmtvr.files import write_arrays
from mmtvr.search.features import (
    check_export_path,
    encode_captions,
    import_features,
    list_readable,
    place_captions,
    read_features,
)
from mmtvr.search.indexing import remove_files
from mmtvr.search.query import IndexReport
from mmtvr.search.stores import open_store
from mmtvr.search.stores.base import (
    PRECISIONS,
    VideoStore,
    hide_secrets,
)
from mmtvr.search.video_files import find_named, read_captioned

PathLike = str | os.PathLike[str]


def export_index(
    index: PathLike,
    path: PathLike,
    captions: PathLike | None = None,
    *,
    videos_folder: PathLike | None = None,
    checkpoint: PathLike | None = None,
    device: str | None = None,
) -> dict[str, int]:
    """Write the features of an index for other tools.

    With captions, ``tools/evaluate.py`` reads the file: it compares pooled
    vectors by cosine, each caption with all videos of the index. That is all
    there is to a head that compares pooled vectors, and the first stage of
    others, which ``tools/test.py`` evaluates.

    Args:
        index: The folder or the address of an index.
        path: Ends in ``.npz``; see
            :func:`mmtvr.search.features.read_features`.
        captions: An annotation file with captions of videos of the index.
            The model of the index encodes them, and the file gets ``text``
            (B, D) float32, ``texts`` (B,) strings and ``text_video_ids``
            (B,) int64.
        videos_folder: Where the videos of the annotation file are.
        checkpoint: Where the checkpoint of the index is now, if it has moved.
        device: Where to compute; None for a GPU if there is one.

    Returns:
        How many videos and captions were written.

    Raises:
        SetupError: The index is missing or empty, lacks one of the videos, or
            changes while it is read, or its model is not to be found.
    """
    path, store = Path(path), open_store(index)
    about = store.require_info()
    check_export_path(path)
    entries = list_readable(store)
    if captions is None:
        write_arrays(path, read_features(store, entries))
        return dict(exported=len(entries))
    if about.get('imported'):
        raise SetupError(
            f'{store.url} holds imported features, whose model mmtvr does '
            'not have: it cannot encode captions. Export without --captions, '
            'and add their vectors of that model as text'
        )
    placed = place_captions(
        read_captioned(captions, videos_folder),
        entries,
        [each for each in store.list_files() if each.error is not None],
    )
    # Before captions are encoded, which may take long: others may index.
    content = read_features(store, entries)
    encoder = open_searcher(index, checkpoint, device).encoder
    text = encode_captions(encoder, placed['texts'].tolist())
    write_arrays(path, dict(content, **placed, text=text))
    return dict(exported=len(entries), captions=len(text))


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
        precision = args.precision or PRECISIONS[0]
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
    store.require_info()
    with store.lock():
        entries = list(store.list_files())
        named = find_named(entries, paths)
        if not named:
            raise SetupError(
                f'none of {", ".join(map(repr, paths))} is in {store.url}'
            )
        remove_files(store, named)
        store.compact()
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
        print(describe(report, hide_secrets(args.into)))


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
