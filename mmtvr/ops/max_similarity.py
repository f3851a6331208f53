"""Mean over words of the best frame, over frames of the best word."""

from importlib.util import find_spec
from typing import NamedTuple

import torch
from torch import Tensor

from .blocked_similarity import BlockedMaxSimilarity
from .product_blocks import (
    best_frames,
    mark_padding,
    products,
    tokens_first,
    transposed,
    weighted_sum,
)


class Neighbours(NamedTuple):
    """The frame that visual attention adds to each frame of a video.

    Attributes:
        factor: Shape (V, T), what its score is multiplied by.
        index: Shape (V, T), int64, its number in the same video.
    """

    factor: Tensor
    index: Tensor


class Bag(NamedTuple):
    """Tokens of one side.

    Attributes:
        tokens: Shape (N, S, D), in any floating point type; padding may hold
            anything.
        mask: Shape (N, S), bool.
        weight: Shape (N, S), 0 at padding, else with sum 1, in the type to
            compute in.
    """

    tokens: Tensor
    mask: Tensor
    weight: Tensor


def max_similarity(
    text: Bag, video: Bag, neighbours: Neighbours | None, block_bytes: int
) -> tuple[Tensor, Tensor]:
    r"""Compare all words with all frames, in blocks of texts.

    With dot products s of words p and frames q, weights a and b, and the
    neighbour y of frame z with factor g,

    .. math:: \sum_p a_p (s_{pz} + g_z s_{py(z)}), \; z = \arg\max_q s_{pq},
        \quad \text{and} \quad \sum_q b_q \max_p s_{pq}.

    No product is computed twice. Backward rests on the numbers of the best
    frames and words, a byte each, on the scores of the second frames, and
    where weights want a gradient on the maxima, never on all products. Of
    equal products one counts.

    On a GPU with Triton, the products of a tile stay in registers, see
    :mod:`mmtvr.ops.triton_similarity`; ``block_bytes`` is not read then.

    Args:
        text: B texts of L words.
        video: V videos of T frames.
        neighbours: Second frames, or None.
        block_bytes: Memory in bytes that the products of a block may take. A
            text is never split, even if it alone exceeds the budget.

    Returns:
        Both means, each (B, V), large and negative where the side that is
        searched has no real token. Differentiable once.
    """
    factor, index = neighbours or (None, None)
    if _runs_in_triton(text, video):
        from .triton_similarity import TritonMaxSimilarity

        return TritonMaxSimilarity.apply(
            *text, *video, factor, index, torch.is_grad_enabled()
        )
    text, video = _in_type_of_weight(text), _in_type_of_weight(video)
    wanting = (text.tokens, text.weight, video.tokens, video.weight, factor)
    if torch.is_grad_enabled() and any(
        each is not None and each.requires_grad for each in wanting
    ):
        return BlockedMaxSimilarity.apply(
            *text, *video, factor, index, block_bytes
        )
    words = mark_padding(text.tokens, text.mask, 0)
    frames = tokens_first(video.tokens, video.mask)
    frame_weight, factor, index = transposed(video.weight, factor, index)
    of_words = frames.new_empty(len(text.mask), len(video.mask))
    of_frames = torch.empty_like(of_words)
    for rows, product in products(words, frames, block_bytes):
        if index is None:
            best = product.amax(2)
        else:
            best, *_ = best_frames(product, factor, index)
        of_words[rows] = weighted_sum(text.weight[rows, :, None], best)
        of_frames[rows] = weighted_sum(frame_weight, product.amax(1))
    return of_words, of_frames


def _runs_in_triton(text: Bag, video: Bag) -> bool:
    """On GPUs, for tokens of one type and weights that are not learned."""
    if not text.tokens.is_cuda or find_spec('triton') is None:
        return False
    from .triton_tiles import fits

    fixed = not (text.weight.requires_grad or video.weight.requires_grad)
    return (
        fixed
        and text.weight.dtype == torch.float32
        and text.tokens.dtype == video.tokens.dtype
        and fits(text.tokens, video.tokens)
    )


def _in_type_of_weight(bag: Bag) -> Bag:
    return bag._replace(tokens=bag.tokens.to(bag.weight.dtype))
