"""An index of features that any encoder made."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mmtvr.errors import SetupError
from mmtvr.search.feature_file import list_clips, read_feature_file
from mmtvr.search.identity import FORMAT, hash_file
from mmtvr.search.limits import require_at_least
from mmtvr.search.records import FileEntry, StoredVideos
from mmtvr.search.store import VideoStore

BATCH = 1024

Batch = tuple[StoredVideos, list[FileEntry]]


def import_features(
    store: VideoStore, path: Path, precision: str, parts: int
) -> int:
    """Fill a new index with features that any encoder made.

    Where a process was killed in the middle, the same call goes on.

    Args:
        store: Where the index will be; there is none yet.
        path: What :func:`mmtvr.search.feature_export.read_features`
            writes; at least ``video`` and ``videos``. Vectors are brought to
            unit length.
        precision: How tokens are kept.
        parts: Vectors of the first stage, see :func:`part_vectors`;
            of a file with tokens. At least 1.

    Returns:
        The number of videos.

    Raises:
        SetupError: The file is missing or of another format, or there is an
            index of something else already. Nothing was written then.
    """
    require_at_least(1, parts=parts)
    content = read_feature_file(path)
    about = _describe(content, path, precision, parts)
    # Before anything is written, so that what fails here leaves no index.
    batches = list(_batches(content, path.name))
    before = store.read_about()
    if before not in (None, about):
        raise SetupError(
            f'there is another index in {store.url} already: import into a '
            'new one'
        )
    if before is None:
        store.write_about(about)
    with store.lock():
        _fill(store, batches)
    return len(content['videos'])


def _describe(
    content: dict[str, np.ndarray], path: Path, precision: str, parts: int
) -> dict[str, Any]:
    return dict(
        format=FORMAT,
        imported=True,
        name=path.name,
        file=hash_file(path),
        width=content['video'].shape[1],
        precision=precision,
        parts=parts if 'tokens' in content else 1,
    )


def _fill(store: VideoStore, batches: Sequence[Batch]) -> None:
    """Add what is not there yet."""
    known = store.list_contents()
    for videos, entries in batches:
        new = [
            row
            for row, each in enumerate(videos.contents)
            if each not in known
        ]
        if new:
            store.add_videos(videos.select(new))
        store.put_files(entries)
    store.tidy()


def _batches(content: dict[str, np.ndarray], source: str) -> Iterator[Batch]:
    video, clips = _unit(content['video']), list_clips(content)
    empty = np.zeros((0, video.shape[1]), np.float32)
    tokens, times = [empty] * len(clips), [empty[:, 0]] * len(clips)
    if 'tokens' in content:
        borders = content['token_counts'].astype(np.int64).cumsum()[:-1]
        tokens = np.split(_unit(content['tokens']), borders)
        times = np.split(content['times'].astype(np.float32), borders)
    for first in range(0, len(clips), BATCH):
        rows = slice(first, first + BATCH)
        entries = [
            FileEntry(clip[0], '', 0, (0, 0), source, *clip[1:])
            for clip in clips[rows]
        ]
        # What names an entry names its features too: no two share them.
        entries = [replace(each, content=each.key) for each in entries]
        contents = [entry.content for entry in entries]
        yield (
            StoredVideos(contents, video[rows], tokens[rows], times[rows]),
            entries,
        )


def _unit(vectors: np.ndarray) -> np.ndarray:
    vectors = vectors.astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
