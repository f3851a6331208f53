"""Features of an index as one file, for other tools."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmtvr.errors import SetupError
from mmtvr.search.records import FileEntry
from mmtvr.search.store import VideoStore

BATCH = 1024
ENDING = '.npz'


def list_readable(store: VideoStore) -> list[FileEntry]:
    """List what an index has features of.

    Args:
        store: The index.

    Returns:
        The entries, by path and span.

    Raises:
        SetupError: There is none.
    """
    entries = [each for each in store.list_files() if each.error is None]
    if not entries:
        raise SetupError(f'the index {store.url} is empty')
    return sorted(entries, key=_order)


def check_export_path(path: Path) -> None:
    """Make sure, before long work, that a file can be written.

    Args:
        path: Where features are to go.

    Raises:
        SetupError: It has another ending than ``.npz``, or no folder.
    """
    if path.suffix != ENDING:
        raise SetupError(f'{path} must end in {ENDING}')
    if not path.parent.is_dir():
        raise SetupError(f'there is no folder {path.parent} for {path.name}')


def read_features(
    store: VideoStore, entries: Sequence[FileEntry]
) -> dict[str, np.ndarray]:
    """Read the features of entries into memory, for a npz.

    Args:
        store: The index.
        entries: V of its entries, see :func:`list_readable`.

    Returns:
        ``video`` (V, D) float32, ``videos`` (V,) strings, the paths,
        ``starts`` and ``ends`` (V,) float64, the spans in seconds with NaN
        where there is none, ``video_ids`` (V,) int64, and for all videos one
        after the other ``tokens`` (N, D) float16 and ``times`` (N,) float32,
        with ``token_counts`` (V,) int64.

    Raises:
        SetupError: Entries have left the index, or have another content,
            since they were listed.
    """
    pooled, tokens, times = [], [], []
    for start in range(0, len(entries), BATCH):
        wanted = [entry.content for entry in entries[start : start + BATCH]]
        found = store.read_videos(wanted)
        if found.contents != wanted:
            raise SetupError(
                f'the index {store.url} has changed while it was read: '
                'export again when nobody indexes into it'
            )
        pooled.append(found.pooled)
        tokens += [each.astype(np.float16) for each in found.tokens]
        times += found.times
    content = dict(
        video=np.concatenate(pooled),
        videos=np.array([entry.path for entry in entries]),
        video_ids=np.arange(len(entries)),
        starts=np.array([entry.start for entry in entries], np.float64),
        ends=np.array([entry.end for entry in entries], np.float64),
    )
    if all(map(len, tokens)):
        content |= dict(
            tokens=np.concatenate(tokens),
            token_counts=np.array([len(each) for each in tokens]),
            times=np.concatenate(times),
        )
    return content


def _order(entry: FileEntry) -> tuple:
    return os.fsencode(entry.path), entry.start or 0.0, entry.end or 0.0
