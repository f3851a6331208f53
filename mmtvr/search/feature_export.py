"""Features of an index as one file, for other tools."""

import os
from collections.abc import Mapping, Sequence
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


def export_features(
    store: VideoStore,
    entries: Sequence[FileEntry],
    path: Path,
    captions: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Write features as npz.

    The file holds ``video`` (V, D) float32, ``videos`` (V,) strings, the
    paths, ``starts`` and ``ends`` (V,) float64, the spans in seconds with NaN
    where there is none, ``video_ids`` (V,) int64, and for all videos one
    after the other ``tokens`` (N, D) float16 and ``times`` (N,) float32, with
    ``token_counts`` (V,) int64. It is read without pickle, and all of it has
    to fit in memory.

    Args:
        store: The index.
        entries: The V entries to write, see :func:`list_readable`.
        path: Ends in ``.npz``.
        captions: What goes into the file beside them, see
            :func:`mmtvr.search.caption_features.encode_captions`.

    Raises:
        SetupError: The path has another ending, or no folder.
    """
    check_export_path(path)
    pooled, tokens, times = [], [], []
    for start in range(0, len(entries), BATCH):
        wanted = [entry.content for entry in entries[start : start + BATCH]]
        found = store.read_videos(wanted)
        pooled.append(found.pooled)
        tokens += [each.astype(np.float16) for each in found.tokens]
        times += found.times
    content = dict(
        video=np.concatenate(pooled),
        videos=np.array([entry.path for entry in entries]),
        video_ids=np.arange(len(entries)),
        starts=np.array([entry.start for entry in entries], np.float64),
        ends=np.array([entry.end for entry in entries], np.float64),
        **(captions or {}),
    )
    if all(map(len, tokens)):
        content |= dict(
            tokens=np.concatenate(tokens),
            token_counts=np.array([len(each) for each in tokens]),
            times=np.concatenate(times),
        )
    _write(path, content)


def _order(entry: FileEntry) -> tuple:
    return os.fsencode(entry.path), entry.start or 0.0, entry.end or 0.0


def _write(path: Path, content: Mapping[str, np.ndarray]) -> None:
    part = path.with_name(f'.{path.name}.part')
    try:
        with part.open('wb') as file:
            np.savez(file, **content)
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
