"""Search an index without its model: by vectors, or by one of its videos."""

import os
from pathlib import Path

import numpy as np

from mmtvr.errors import SetupError
from mmtvr.files import load_arrays
from mmtvr.search.query import SearchResult, search_similar, without
from mmtvr.search.stores import open_store
from mmtvr.search.stores.base import FileEntry, StoredVideos, require_at_least

PathLike = str | os.PathLike[str]
EXPECTED = (
    'a .npy with vectors (Q, D), or a .npz with text (Q, D), the vectors of '
    'the queries, and optionally texts (Q,)'
)


def is_imported(index: PathLike) -> bool:
    """Whether an index holds features that another encoder made.

    Args:
        index: The folder or the address of an index.

    Returns:
        Whether they were imported.
    """
    return bool(open_store(index).require_info().get('imported'))


def read_queries(path: PathLike) -> tuple[np.ndarray, list[str]]:
    """Read queries that the encoder of imported features made.

    Args:
        path: A ``.npy`` with vectors (Q, D), or a ``.npz`` with ``text``
            (Q, D) and, optionally, ``texts`` (Q,), strings.

    Returns:
        The vectors, and a name for each.

    Raises:
        SetupError: There is no file, or it is neither.
    """
    content = load_arrays(Path(path), EXPECTED)
    if isinstance(content, np.ndarray):
        content = dict(text=content)
    if 'text' not in content:
        raise SetupError(
            f'{path} holds {sorted(content)}; expected {EXPECTED}'
        )
    vectors = content['text']
    if vectors.ndim != 2:
        raise SetupError(
            f'{path} holds vectors of shape {vectors.shape}; expected '
            f'{EXPECTED}'
        )
    names = [f'vector {number}' for number in range(len(vectors))]
    texts = content.get('texts')
    if texts is not None and texts.shape == (len(vectors),):
        names = list(map(str, texts.tolist()))
    return vectors, names


def search_by_vectors(
    index: PathLike,
    vectors: np.ndarray,
    top_k: int = 10,
    candidates: int = 100,
) -> list[list[SearchResult]]:
    """Find the videos whose pooled vectors are most like some vectors.

    Args:
        index: The folder or the address of an index.
        vectors: Shape (Q, D), floating point, made by the encoder that made
            the features of the index.
        top_k: How many results for each.
        candidates: How many neighbours are compared as whole videos.

    Returns:
        For each vector its results by cosine, the best first.

    Raises:
        SetupError: There is no index, the vectors do not fit, or a number is
            below 1.
    """
    require_at_least(1, top_k=top_k, candidates=candidates)
    store = open_store(index)
    width = store.require_info()['width']
    lengths = _lengths(vectors, width)
    unit = vectors.astype(np.float32) / lengths[:, None]
    nothing = np.zeros((0, width), np.float32)
    return [
        search_similar(
            store,
            StoredVideos([''], row[None], [nothing], [nothing[:, 0]]),
            top_k,
            candidates,
        )
        for row in unit
    ]


def search_by_name(
    index: PathLike, name: str, top_k: int = 10, candidates: int = 100
) -> list[SearchResult]:
    """Find the videos that are most like one of the index.

    Args:
        index: The folder or the address of an index.
        name: The video as the imported file names it.
        top_k: How many results.
        candidates: How many neighbours are compared as whole videos.

    Returns:
        The results by cosine, the best first, the video itself left out.

    Raises:
        SetupError: There is no index, it has no such video, or a number is
            below 1.
    """
    require_at_least(1, top_k=top_k, candidates=candidates)
    store = open_store(index)
    store.require_info()
    entry = store.find_entry(FileEntry(name, '').key)
    if entry is None:
        spans = sum(each.path == name for each in store.list_files())
        why = f'{spans} spans of it; search with a vector of one of them'
        raise SetupError(
            f'{store.url} has no video named {name!r}'
            + (f', but {why}' if spans else '')
        )
    video = store.read_videos([entry.content])
    found = search_similar(store, video, top_k + 1, candidates)
    return without(found, name)[:top_k]


def _lengths(vectors: np.ndarray, width: int) -> np.ndarray:
    shape, kind = vectors.shape, vectors.dtype
    if len(shape) != 2 or shape[1] != width or kind.kind != 'f':
        raise SetupError(
            f'queries are {kind} of shape {shape}, the features of the index '
            f'have {width} dimensions: expected floating point (Q, {width})'
        )
    lengths = np.linalg.norm(vectors.astype(np.float32), axis=1)
    if not (np.isfinite(lengths) & (lengths > 0)).all():
        raise SetupError('a query vector is zero or not finite')
    return lengths
