"""Arrays out of .npy and .npz files that others wrote."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from mmtvr.array_files import load_arrays
from mmtvr.errors import SetupError

FORMATS = (
    'a .npy with scores (texts, videos); or a .npz with scores, or with text '
    'and video, embeddings (N, D) to be compared by cosine, and optionally '
    'text_video_ids and video_ids'
)


def as_numbers(path: Path, name: str, array: object) -> Tensor:
    """Turn an array of floating point numbers into a tensor.

    Args:
        path: Where it comes from, for the message.
        name: What it is, for the message.
        array: The array.

    Returns:
        The tensor.

    Raises:
        SetupError: It is something else.
    """
    if not isinstance(array, np.ndarray) or array.dtype.kind != 'f':
        kind = getattr(array, 'dtype', type(array).__name__)
        raise SetupError(
            f'{name} in {path} are {kind}, expected floating point numbers'
        )
    return torch.from_numpy(_native(array))


def as_ids(path: Path, name: str, array: np.ndarray) -> Tensor:
    """Turn a vector of integers into a tensor.

    Args:
        path: Where it comes from, for the message.
        name: What it is, for the message.
        array: The array.

    Returns:
        Shape (N,), int64.

    Raises:
        SetupError: It is something else.
    """
    if array.ndim != 1 or array.dtype.kind not in 'iu':
        raise SetupError(
            f'{name} in {path} are {array.dtype} of shape {array.shape}, '
            'expected a vector of integers'
        )
    return torch.from_numpy(array.astype(np.int64))


def _native(array: np.ndarray) -> np.ndarray:
    """Byte order and width that PyTorch has."""
    kind = f'f{min(array.dtype.itemsize, 8)}'
    return np.ascontiguousarray(array, dtype=kind)


def read_scores(path: Path, content: dict[str, np.ndarray]) -> Tensor:
    """Take or compute the table of scores.

    Args:
        path: Where the arrays come from, for messages.
        content: ``scores``, or ``text`` and ``video``.

    Returns:
        Shape (texts, videos), at least one of each.

    Raises:
        SetupError: They are not there or not of this shape.
    """
    if 'scores' in content:
        scores = as_numbers(path, 'scores', content['scores'])
        if scores.ndim != 2 or not scores.numel():
            raise SetupError(
                f'scores in {path} are {scores.dtype} of shape '
                f'{tuple(scores.shape)}; expected a floating point table '
                '(texts, videos)'
            )
        return scores
    if {'text', 'video'} <= set(content):
        text, video = (
            as_numbers(path, f'embeddings "{name}"', content[name]).float()
            for name in ('text', 'video')
        )
        if text.ndim != 2 or text.shape[1:] != video.shape[1:]:
            raise SetupError(
                f'embeddings in {path} have shapes {tuple(text.shape)} and '
                f'{tuple(video.shape)}; expected (texts, D) and (videos, D)'
            )
        if not text.numel() or not video.numel():
            raise SetupError(f'{path} holds no text or no video')
        return normalize(text, dim=-1) @ normalize(video, dim=-1).T
    raise SetupError(f'{path} holds {sorted(content)}; expected {FORMATS}')


def read_match(path: Path, texts: int, videos: int) -> Tensor:
    """Read which video belongs to each text.

    Args:
        path: A .npy with column numbers (texts,), or a bool table (texts,
            videos) with one True per row.
        texts: Number of texts.
        videos: Number of videos.

    Returns:
        Shape (texts,), int64, columns.

    Raises:
        SetupError: It is something else.
    """
    match = load_arrays(path, FORMATS)
    if isinstance(match, np.ndarray):
        if match.dtype == bool and match.shape == (texts, videos):
            if (match.sum(1) != 1).any():
                row = int((match.sum(1) != 1).argmax())
                raise SetupError(
                    f'{path}: row {row} has {int(match[row].sum())} videos, '
                    'expected one video for each text'
                )
            return torch.from_numpy(match.argmax(1))
        if match.dtype.kind in 'iu' and match.shape == (texts,):
            if match.min() < 0 or match.max() >= videos:
                raise SetupError(
                    f'{path} names columns {match.min()} to {match.max()}, '
                    f'but there are {videos} videos'
                )
            return torch.from_numpy(match.astype(np.int64))
    raise SetupError(
        f'{path} must hold {texts} column numbers, or a bool table '
        f'({texts}, {videos})'
    )


def load_bank(path: Path, videos: int) -> Tensor:
    """Read a query bank for QB-Norm.

    Args:
        path: A .npy with scores (training texts, videos).
        videos: Number of videos.

    Returns:
        The scores.

    Raises:
        SetupError: The file is missing or of another shape.
    """
    bank = load_arrays(path, FORMATS)
    if not isinstance(bank, np.ndarray) or bank.shape[1:] != (videos,):
        raise SetupError(f'{path} must be a table (training texts, {videos})')
    if not len(bank):
        raise SetupError(f'{path} holds no training text')
    return as_numbers(path, 'scores', bank)
