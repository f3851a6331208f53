"""Partial captions and videos of matched pairs, and their similarities."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

TRIPLETS = ('frames', 'word_global_frames', 'words', 'frame_global')


class PartialPairs(NamedTuple):
    """B matched pairs. A prime is a version without its telling tokens.

    Attributes:
        sentence: t, shape (B, D), unit vectors.
        frames: v, shape (B, T, D), unit vectors.
        frame_mask: Shape (B, T), bool, True at real frames.
        kept_frames: Shape (B, T), bool, the frames that stay in v'; the
            others are zero vectors.
        frame_globals: vg and vg', each (B, D), unit vectors.
        word_globals: tg and tg', each (B, D), unit vectors.
    """

    sentence: Tensor
    frames: Tensor
    frame_mask: Tensor
    kept_frames: Tensor | None = None
    frame_globals: tuple[Tensor, Tensor] | None = None
    word_globals: tuple[Tensor, Tensor] | None = None


def triplet_similarities(
    name: str, pairs: PartialPairs
) -> tuple[Tensor, Tensor]:
    """Similarities of the full and of the partial version of each pair.

    Args:
        name: ``'frames'`` for (t, v) and (t, v'); ``'word_global_frames'``
            for (tg, v) and (tg, v'); ``'words'`` for (tg, v) and (tg', v);
            ``'frame_global'`` for (t, vg) and (t, vg').
        pairs: The pairs, with the parts that this triplet compares.

    Returns:
        Two tensors of shape (B,). The first should be the larger one.

    Raises:
        ValueError: If there is no such triplet.
    """

    def with_video(vector: Tensor) -> Tensor:
        return pair_similarity(vector, pairs.frames, pairs.frame_mask)

    def with_both_videos(vector: Tensor) -> tuple[Tensor, Tensor]:
        cosine = _cosines(vector, pairs.frames)
        partial = cosine * pairs.kept_frames
        return (
            _pool(cosine, pairs.frame_mask),
            _pool(partial, pairs.frame_mask),
        )

    if name == 'frames':
        return with_both_videos(pairs.sentence)
    if name == 'word_global_frames':
        return with_both_videos(pairs.word_globals[0])
    if name == 'words':
        full, partial = pairs.word_globals
        return with_video(full), with_video(partial)
    if name == 'frame_global':
        full, partial = pairs.frame_globals
        text = pairs.sentence
        return (text * full).sum(-1), (text * partial).sum(-1)
    raise ValueError(f'triplets must be among {TRIPLETS}, not {name!r}')


def pair_similarity(vectors: Tensor, frames: Tensor, mask: Tensor) -> Tensor:
    """Token-wise similarity of one vector with the frames of its own video.

    The mean of the largest and of the average cosine. The removed frames of
    a partial video are zero vectors and count in both, as in the released
    code.

    Args:
        vectors: Shape (B, D), unit vectors.
        frames: Shape (B, T, D), unit vectors, or 0 where a frame is removed.
        mask: Shape (B, T), bool, True at real frames, removed ones included.

    Returns:
        Shape (B,), in [-1, 1]; 0 for a video without any real frame.
    """
    return _pool(_cosines(vectors, frames), mask)


def _cosines(vectors: Tensor, frames: Tensor) -> Tensor:
    return (frames @ vectors[..., None]).squeeze(-1)


def _pool(cosine: Tensor, mask: Tensor) -> Tensor:
    best = cosine.masked_fill(~mask, -torch.inf).max(1).values
    best = best.masked_fill(~mask.any(1), 0.0)
    mean = cosine.masked_fill(~mask, 0.0).sum(1) / mask.sum(1).clamp_min(1)
    return (best + mean) / 2


def importance_globals(
    tokens: Tensor, importance: Tensor, keep: Tensor
) -> tuple[Tensor, Tensor]:
    """Pool all tokens, and the kept ones, by importance.

    The released code leaves the second vector unnormalised, which turns the
    margin into a difference of norms.

    Args:
        tokens: Shape (B, S, D), 0 at padding.
        importance: Shape (B, S), 0 at padding.
        keep: Shape (B, S), bool, True at tokens that stay.

    Returns:
        Two tensors of shape (B, D), unit vectors.
    """
    weights = torch.stack([importance, importance * keep], 1)
    full, partial = (weights @ tokens).unbind(1)
    return normalize(full, dim=1), normalize(partial, dim=1)


TOLERANCE = 1e-6
"""Cumulated importance this close to the mass counts as having reached it.

Importance is float32: eighteen times 1/30 must reach 0.6 on every machine.
"""


class Selection(NamedTuple):
    """How much the tokens of B matched pairs matter, and which ones stay.

    Attributes:
        importance: Shape (B, S), not negative, 0 at padding, sum 1.
        keep: Shape (B, S), bool, True at real tokens that stay.
    """

    importance: Tensor
    keep: Tensor


@torch.no_grad()
def keep_less_important(
    importance: Tensor, mask: Tensor, mass: float, min_removed: int = 0
) -> Tensor:
    """Drop the most important tokens, as many as stay below a mass.

    Tokens are taken by falling importance (equal ones in their order) as long
    as their cumulated importance is below ``mass``. The one that reaches it
    and all after it stay, so a token that holds the mass alone is not dropped
    (as released) unless ``min_removed`` asks for it. At least one real token
    always stays. The choice has no gradient.

    Args:
        importance: Shape (B, S), not negative, sum 1 over the real tokens.
        mask: Shape (B, S), bool, True at real tokens.
        mass: Share of the importance to remove, in (0, 1].
        min_removed: Tokens to drop whatever they weigh.

    Returns:
        Shape (B, S), bool, True at real tokens that stay.
    """
    ranked = importance.double().masked_fill(~mask, -1.0)
    ranked, order = ranked.sort(dim=1, descending=True, stable=True)
    cumulated = ranked.clamp_min(0.0).cumsum(1)
    position = torch.arange(mask.shape[1], device=mask.device)
    last = mask.sum(1, keepdim=True) - 1
    dropped = (cumulated < mass - TOLERANCE) | (position < min_removed)
    dropped &= position < last
    return mask & ~torch.zeros_like(mask).scatter(1, order, dropped)
