"""An index of features that any encoder made."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mmtvr.errors import SetupError
from mmtvr.search.identity import FORMAT, hash_file
from mmtvr.search.records import FileEntry, StoredVideos
from mmtvr.search.store import VideoStore

BATCH = 1024
SPANS = ('starts', 'ends')
EXPECTED = (
    'video (V, D) and videos (V,), the names as strings; optionally starts '
    'and ends (V,), seconds or NaN, and tokens (sum of token_counts, D), '
    'token_counts (V,) and times (sum of token_counts,)'
)


def import_features(
    store: VideoStore, path: Path, precision: str, parts: int
) -> int:
    """Fill a new index with features that any encoder made.

    Where a process was killed in the middle, the same call goes on.

    Args:
        store: Where the index will be; there is none yet.
        path: What :func:`mmtvr.search.feature_export.export_features`
            writes; at least ``video`` and ``videos``. Vectors are brought to
            unit length.
        precision: How tokens are kept.
        parts: Vectors of the first stage, see :func:`part_vectors`.

    Returns:
        The number of videos.

    Raises:
        SetupError: The file is missing or of another format, or there is an
            index of something else already.
    """
    content = _read(path)
    has_tokens = 'tokens' in content
    about = dict(
        format=FORMAT,
        imported=True,
        name=path.name,
        file=hash_file(path),
        width=content['video'].shape[1],
        precision=precision,
        parts=parts if has_tokens else 1,
    )
    before = store.read_about()
    if before not in (None, about):
        raise SetupError(
            f'there is another index in {store.url} already: import into a '
            'new one'
        )
    if before is None:
        store.write_about(about)
    with store.lock():
        known = store.list_contents()
        for videos, entries in _batches(content, path.name):
            new = [
                row
                for row, each in enumerate(videos.contents)
                if each not in known
            ]
            if new:
                store.add_videos(videos.select(new))
            store.put_files(entries)
        store.tidy()
    return len(content['videos'])


def _batches(
    content: dict[str, np.ndarray], source: str
) -> Iterator[tuple[StoredVideos, list[FileEntry]]]:
    video, clips = _unit(content['video']), _clips(content)
    empty = np.zeros((0, video.shape[1]), np.float32)
    tokens, times = [empty] * len(clips), [empty[:, 0]] * len(clips)
    if 'tokens' in content:
        borders = content['token_counts'].cumsum()[:-1]
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


def _clips(
    content: dict[str, np.ndarray],
) -> list[tuple[str, float | None, float | None]]:
    """Name, start and end of each video."""
    names = content['videos'].tolist()
    spans = [
        [None if np.isnan(second) else float(second) for second in content[at]]
        if at in content
        else [None] * len(names)
        for at in SPANS
    ]
    return list(zip(names, *spans, strict=True))


def _unit(vectors: np.ndarray) -> np.ndarray:
    vectors = vectors.astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _read(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise SetupError(f'there is no file {path} (looked from {Path.cwd()})')
    try:
        loaded: Any = np.load(path, allow_pickle=False)
        content = dict(loaded)
    except Exception as error:
        # A header is parsed as Python, a member decompressed: each part has
        # exceptions of its own.
        reason = str(error).strip() or type(error).__name__
        raise SetupError(
            f'{path} cannot be read: {reason}. Expected a .npz with '
            f'{EXPECTED}.'
        ) from error
    fault = _find_fault(content)
    if fault:
        raise SetupError(f'{path}: {fault}. Expected {EXPECTED}.')
    return content


def _find_fault(content: dict[str, np.ndarray]) -> str | None:
    if not {'video', 'videos'} <= set(content):
        return f'it holds {sorted(content)}'
    fault = _find_fault_of_vectors('video', content['video'])
    fault = fault or _find_fault_of_names(content)
    if fault or 'tokens' not in content:
        return fault
    return _find_fault_of_tokens(content)


def _find_fault_of_names(content: dict[str, np.ndarray]) -> str | None:
    names = content['videos']
    if names.shape != (len(content['video']),) or names.dtype.kind != 'U':
        return f'videos is {names.dtype} of shape {names.shape}'
    for at in SPANS:
        seconds = content.get(at, np.zeros(names.shape))
        if seconds.shape != names.shape or seconds.dtype.kind != 'f':
            return f'{at} is {seconds.dtype} of shape {seconds.shape}'
    if len(set(_clips(content))) < len(names):
        return 'a name stands in videos twice'
    return None


def _find_fault_of_tokens(content: dict[str, np.ndarray]) -> str | None:
    if not {'token_counts', 'times'} <= set(content):
        return 'it holds tokens without token_counts and times'
    counts, names = content['token_counts'], content['videos']
    total = len(content['tokens'])
    if counts.shape != names.shape or counts.sum() != total or min(counts) < 1:
        return f'token_counts do not divide {total} tokens among the videos'
    if content['times'].shape != (total,):
        return f'times has shape {content["times"].shape}'
    if content['tokens'].shape[1:] != content['video'].shape[1:]:
        return f'tokens has shape {content["tokens"].shape}'
    return _find_fault_of_vectors('tokens', content['tokens'])


def _find_fault_of_vectors(name: str, vectors: np.ndarray) -> str | None:
    if vectors.ndim != 2 or vectors.dtype.kind != 'f' or not vectors.size:
        return f'{name} is {vectors.dtype} of shape {vectors.shape}'
    lengths = np.linalg.norm(vectors.astype(np.float32), axis=1)
    bad = ~(np.isfinite(lengths) & (lengths > 0))
    if bad.any():
        return f'row {bad.argmax()} of {name} is zero or not finite'
    return None
