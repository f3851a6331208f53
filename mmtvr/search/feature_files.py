"""Features of an index as one file, for and from other tools."""

import os
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from mmtvr.errors import SetupError
from mmtvr.search.identity import FORMAT
from mmtvr.search.records import KEY_BYTES, FileEntry, StoredVideos
from mmtvr.search.store import VideoStore

BATCH = 1024
EXPECTED = (
    'video (V, D) and videos (V,), the names as strings; optionally tokens '
    '(sum of token_counts, D), token_counts (V,) and times (sum of '
    'token_counts,)'
)


def export_features(store: VideoStore, path: Path) -> int:
    """Write the features of an index as npz.

    The file holds ``video`` (V, D) float32, ``videos`` (V,) strings, the
    paths, and for all videos one after the other ``tokens`` (N, D) float16
    and ``times`` (N,) float32, with ``token_counts`` (V,) int64. It is read
    without pickle, and all of it has to fit in memory.

    Args:
        store: The index.
        path: Ends in ``.npz``.

    Returns:
        The number of videos V.

    Raises:
        SetupError: The path has another ending, or the index is empty.
    """
    if path.suffix != '.npz':
        raise SetupError(f'{path} must end in .npz')
    entries = sorted(
        (each for each in store.list_files() if each.error is None),
        key=lambda entry: os.fsencode(entry.path),
    )
    if not entries:
        raise SetupError(f'the index {store.url} is empty')
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
        tokens=np.concatenate(tokens),
        token_counts=np.array([len(each) for each in tokens]),
        times=np.concatenate(times),
    )
    part = path.with_name(f'.{path.name}.part')
    with part.open('wb') as file:
        np.savez(file, **content)
    os.replace(part, path)
    return len(entries)


def import_features(
    store: VideoStore, path: Path, precision: str, parts: int
) -> int:
    """Fill a new index with features that any encoder made.

    Args:
        store: Where the index will be; there is none yet.
        path: What :func:`export_features` writes; at least ``video`` and
            ``videos``. Vectors are brought to unit length.
        precision: How tokens are kept.
        parts: Vectors of the first stage, see :func:`part_vectors`.

    Returns:
        The number of videos.

    Raises:
        SetupError: The file is missing or of another format, or there is an
            index already.
    """
    if store.read_about() is not None:
        raise SetupError(
            f'there is an index in {store.url} already: import into a new one'
        )
    content = _read(path)
    has_tokens = 'tokens' in content
    about = dict(
        format=FORMAT,
        imported=True,
        name=path.name,
        width=content['video'].shape[1],
        precision=precision,
        parts=parts if has_tokens else 1,
    )
    store.write_about(about)
    with store.lock():
        for videos, entries in _batches(content, path.name):
            store.add_videos(videos)
            store.put_files(entries)
        store.tidy()
    return len(content['videos'])


def _batches(
    content: dict[str, np.ndarray], source: str
) -> Iterator[tuple[StoredVideos, list[FileEntry]]]:
    video = _unit(content['video'])
    names = content['videos'].tolist()
    empty = np.zeros((0, video.shape[1]), np.float32)
    tokens, times = [empty] * len(names), [empty[:, 0]] * len(names)
    if 'tokens' in content:
        borders = content['token_counts'].cumsum()[:-1]
        tokens = np.split(_unit(content['tokens']), borders)
        times = np.split(content['times'].astype(np.float32), borders)
    for start in range(0, len(names), BATCH):
        rows = slice(start, start + BATCH)
        entries = [
            FileEntry(name, _name_content(name), source=source)
            for name in names[rows]
        ]
        contents = [entry.content for entry in entries]
        yield (
            StoredVideos(contents, video[rows], tokens[rows], times[rows]),
            entries,
        )


def _name_content(name: str) -> str:
    named = name.encode('utf-8', 'surrogatepass')
    return blake2b(named, digest_size=KEY_BYTES).hexdigest()


def _unit(vectors: np.ndarray) -> np.ndarray:
    vectors = vectors.astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _read(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise SetupError(f'there is no file {path} (looked from {Path.cwd()})')
    try:
        loaded: Any = np.load(path, allow_pickle=False)
        content = dict(loaded)
    except (ValueError, OSError, EOFError, TypeError) as error:
        raise SetupError(
            f'{path} cannot be read: {error}. Expected a .npz with {EXPECTED}.'
        ) from error
    fault = _find_fault(content)
    if fault:
        raise SetupError(f'{path}: {fault}. Expected {EXPECTED}.')
    return content


def _find_fault(content: dict[str, np.ndarray]) -> str | None:
    if not {'video', 'videos'} <= set(content):
        return f'it holds {sorted(content)}'
    video, names = content['video'], content['videos']
    if fault := _find_fault_of_vectors('video', video):
        return fault
    if names.shape != (len(video),) or names.dtype.kind != 'U':
        return f'videos is {names.dtype} of shape {names.shape}'
    if len(set(names.tolist())) < len(names):
        return 'a name stands in videos twice'
    if 'tokens' not in content:
        return None
    if not {'token_counts', 'times'} <= set(content):
        return 'it holds tokens without token_counts and times'
    counts = content['token_counts']
    total = len(content['tokens'])
    if counts.shape != names.shape or counts.sum() != total or min(counts) < 1:
        return f'token_counts do not divide {total} tokens among the videos'
    if content['times'].shape != (total,):
        return f'times has shape {content["times"].shape}'
    if content['tokens'].shape[1:] != video.shape[1:]:
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
