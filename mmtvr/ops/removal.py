"""Captions and videos without some of their tokens, before they are encoded.

What an encoder or temporal module has mixed cannot be removed any more: the
other tokens hold it. So tokens are removed from what goes in.
"""

import torch
from torch import Tensor

from mmtvr.ops.features import features_of_frames
from mmtvr.structures import TokenFeatures


def longest_row(keep: Tensor) -> int:
    """The most True of any row (..., S), at least 1."""
    return max(1, int(keep.sum(-1).max()))


def move_to_front(keep: Tensor, *tensors: Tensor | None) -> list:
    """Move what stays to the front of its row, in order, and cut the rest.

    Args:
        keep: Shape (..., S), bool.
        *tensors: Shape (..., S) or (..., S, D); None is passed on.

    Returns:
        The mask of what stays, (..., S') with S' the most that stay of any
        row, at least 1, and the tensors likewise.
    """
    order = (~keep).long().argsort(dim=-1, stable=True)
    order = order[..., : longest_row(keep)]
    moved = [keep.gather(-1, order)]
    for tensor in tensors:
        if tensor is None:
            moved.append(None)
        elif tensor.ndim == keep.ndim:
            moved.append(tensor.gather(-1, order))
        else:
            index = order[..., None].expand(*order.shape, tensor.shape[-1])
            moved.append(tensor.gather(-2, index))
    return moved


def removable_words(mask: Tensor, lead: int = 1, tail: int = 1) -> Tensor:
    """Real tokens that are no special ones.

    Args:
        mask: Shape (..., L), bool, real tokens in front of padding.
        lead: Special tokens in front of the words.
        tail: Special tokens behind them.

    Returns:
        Shape (..., L), bool.
    """
    place = torch.arange(mask.shape[-1], device=mask.device)
    end = mask.sum(-1, keepdim=True) - tail
    return mask & (place >= lead) & (place < end)


def remove_words(
    tokens: Tensor,
    mask: Tensor,
    weight: Tensor | None,
    removed: Tensor,
    special: int = 2,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Write captions without some of their words, as the tokenizer would.

    Args:
        tokens: Shape (N, L), or (N, K, L) for paragraphs of K rows.
        mask: Like ``tokens``, bool.
        weight: Like ``tokens``, or None.
        removed: Like ``tokens``, bool.
        special: Special tokens of a row.

    Returns:
        Tokens, mask and weight of the shorter captions. A row of a paragraph
        that lost all of its words is not needed, and has no token.
    """
    keep = mask & ~removed
    if tokens.ndim == 3:
        emptied = removed.any(-1) & (keep.sum(-1) <= special)
        keep = keep & ~emptied[..., None]
    mask, tokens, weight = move_to_front(keep, tokens, weight)
    return tokens, mask, weight


def remove_frames(frames: TokenFeatures, removed: Tensor) -> TokenFeatures:
    """Make shorter videos from frames that have not seen each other."""
    mask, tokens, weight = move_to_front(
        frames.mask & ~removed, frames.tokens, frames.weight
    )
    pooled = features_of_frames(tokens, mask).pooled
    return TokenFeatures(tokens, mask, pooled.to(frames.pooled.dtype), weight)
