"""What a file of features holds, and what may be wrong with it."""

from pathlib import Path

import numpy as np

from mmtvr.array_files import load_arrays
from mmtvr.errors import SetupError

SPANS = ('starts', 'ends')
EXPECTED = (
    'a .npz with video (V, D) and videos (V,), the names as strings; '
    'optionally starts and ends (V,), seconds or NaN, and tokens (sum of '
    'token_counts, D), token_counts (V,) and times (sum of token_counts,)'
)


def read_feature_file(path: Path) -> dict[str, np.ndarray]:
    """Read features that any encoder made.

    Args:
        path: A ``.npz``, see
            :func:`mmtvr.search.feature_export.read_features`.

    Returns:
        The arrays by name, in which no video is zero, not finite, or named
        twice, and tokens, if there are any, have counts and times.

    Raises:
        SetupError: The file is missing or of another format.
    """
    content = load_arrays(path, EXPECTED)
    if isinstance(content, np.ndarray):
        content = dict(an_array=content)
    fault = _find_fault(content)
    if fault:
        raise SetupError(f'{path}: {fault}. Expected {EXPECTED}.')
    return content


def list_clips(
    content: dict[str, np.ndarray],
) -> list[tuple[str, float | None, float | None]]:
    """List what was encoded.

    Args:
        content: The arrays of a file of features.

    Returns:
        Name, start and end of each video, in seconds or None.
    """
    names = content['videos'].tolist()
    spans = [
        [None if np.isnan(second) else float(second) for second in content[at]]
        if at in content
        else [None] * len(names)
        for at in SPANS
    ]
    return list(zip(names, *spans, strict=True))


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
    if len(set(list_clips(content))) < len(names):
        return 'a name stands in videos twice'
    return None


def _find_fault_of_tokens(content: dict[str, np.ndarray]) -> str | None:
    if not {'token_counts', 'times'} <= set(content):
        return 'it holds tokens without token_counts and times'
    fault = _find_fault_of_vectors('tokens', content['tokens'])
    if fault:
        return fault
    tokens, counts = content['tokens'], content['token_counts']
    if tokens.shape[1:] != content['video'].shape[1:]:
        return f'tokens has shape {tokens.shape}'
    if (
        counts.shape != content['videos'].shape
        or counts.dtype.kind not in 'iu'
    ):
        return f'token_counts is {counts.dtype} of shape {counts.shape}'
    total = len(tokens)
    # None above the total: their sum could overflow.
    if counts.min() < 1 or counts.max() > total or counts.sum() != total:
        return f'token_counts do not divide {total} tokens among the videos'
    return _find_fault_of_times(content['times'], total)


def _find_fault_of_times(times: np.ndarray, total: int) -> str | None:
    if times.shape != (total,) or times.dtype.kind != 'f':
        return f'times is {times.dtype} of shape {times.shape}'
    bad = ~np.isfinite(times.astype(np.float32))
    if bad.any():
        return f'row {bad.argmax()} of times is not finite'
    return None


def _find_fault_of_vectors(name: str, vectors: np.ndarray) -> str | None:
    if vectors.ndim != 2 or vectors.dtype.kind != 'f' or not vectors.size:
        return f'{name} is {vectors.dtype} of shape {vectors.shape}'
    lengths = np.linalg.norm(vectors.astype(np.float32), axis=1)
    bad = ~(np.isfinite(lengths) & (lengths > 0))
    if bad.any():
        return f'row {bad.argmax()} of {name} is zero or not finite'
    return None
