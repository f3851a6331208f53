"""Mean over words of the best frame, over frames of the best word."""

from collections.abc import Iterator
from importlib.util import find_spec
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# What the padding of a side adds to a product: below every product of unit
# vectors, yet finite when it is summed.
FAR_BELOW = -1e15


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
        return _MaxSimilarity.apply(*text, *video, factor, index, block_bytes)
    words = _marked(text.tokens, text.mask, 0)
    frames = _tokens_first(video.tokens, video.mask)
    frame_weight, factor, index = _transposed(video.weight, factor, index)
    of_words = frames.new_empty(len(text.mask), len(video.mask))
    of_frames = torch.empty_like(of_words)
    for rows, product in _products(words, frames, block_bytes):
        if index is None:
            best = product.amax(2)
        else:
            best, *_ = _best_frames(product, factor, index)
        of_words[rows] = _weighted_sum(text.weight[rows, :, None], best)
        of_frames[rows] = _weighted_sum(frame_weight, product.amax(1))
    return of_words, of_frames


def _runs_in_triton(text: Bag, video: Bag) -> bool:
    """On GPUs, for tokens of one type and weights that are not learned."""
    if not text.tokens.is_cuda or find_spec('triton') is None:
        return False
    from .triton_similarity import fits

    fixed = not (text.weight.requires_grad or video.weight.requires_grad)
    return (
        fixed
        and text.weight.dtype == torch.float32
        and text.tokens.dtype == video.tokens.dtype
        and fits(text.tokens, video.tokens)
    )


def _in_type_of_weight(bag: Bag) -> Bag:
    return bag._replace(tokens=bag.tokens.to(bag.weight.dtype))


class _MaxSimilarity(torch.autograd.Function):
    """Products are (b, L, T, V): maxima then run over whole rows of memory."""

    @staticmethod
    def forward(
        ctx: Any,
        words: Tensor,
        word_mask: Tensor,
        word_weight: Tensor,
        frames: Tensor,
        frame_mask: Tensor,
        frame_weight: Tensor,
        factor: Tensor | None,
        index: Tensor | None,
        block_bytes: int,
    ) -> tuple[Tensor, Tensor]:
        words = _marked(words, word_mask, 0)
        frames = _tokens_first(frames, frame_mask)
        frame_weight, factor, index = _transposed(frame_weight, factor, index)
        (texts, length), (size, videos) = word_mask.shape, frames.shape[:2]
        per_word, per_frame = (texts, length, videos), (texts, size, videos)
        best_frame = frames.new_empty(per_word, dtype=_index_type(size))
        best_word = frames.new_empty(per_frame, dtype=_index_type(length))
        second = None if index is None else frames.new_empty(per_word)
        needs = ctx.needs_input_grad
        frame_max = frames.new_empty(per_word) if needs[2] else None
        word_max = frames.new_empty(per_frame) if needs[5] else None
        of_words = frames.new_empty(texts, videos)
        of_frames = torch.empty_like(of_words)
        for rows, product in _products(words, frames, block_bytes):
            best, best_frame[rows], other = _best_frames(
                product, factor, index
            )
            of_words[rows] = _weighted_sum(word_weight[rows, :, None], best)
            if second is not None:
                second[rows] = other
            if frame_max is not None:
                frame_max[rows] = best
            best = product.amax(1)
            best_word[rows] = _first_equal(product, best, 1)
            of_frames[rows] = _weighted_sum(frame_weight, best)
            if word_max is not None:
                word_max[rows] = best
        ctx.block_bytes = block_bytes
        ctx.save_for_backward(
            words,
            word_weight,
            frames,
            frame_weight,
            factor,
            index,
            best_frame,
            best_word,
            second,
            frame_max,
            word_max,
        )
        return of_words, of_frames

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad_words: Tensor, grad_frames: Tensor
    ) -> tuple[Tensor | None, ...]:
        (
            words,
            word_weight,
            frames,
            frame_weight,
            factor,
            index,
            best_frame,
            best_word,
            second,
            frame_max,
            word_max,
        ) = ctx.saved_tensors
        width = words.shape[2] - 2
        to_words = words.new_empty(*words.shape[:2], width)
        to_frames = frames.new_zeros(*frames.shape[:2], width)
        to_factor = None if factor is None else torch.zeros_like(factor)
        for rows, slope in _blocks(words, frames, ctx.block_bytes):
            per_word = word_weight[rows, :, None] * grad_words[rows, None]
            per_frame = grad_frames[rows, None] * frame_weight
            cell = _cells(best_frame[rows])
            slope.zero_().scatter_(
                1, best_word[rows].long()[:, None], per_frame[:, None]
            )
            _add(slope, _places(cell, slope), per_word)
            if factor is not None:
                _add(to_factor, cell, per_word * second[rows])
                per_word *= factor.take(cell)
                other = _cells(index.take(cell))
                _add(slope, _places(other, slope), per_word)
            slope = slope.flatten(2).flatten(0, 1)
            torch.mm(
                slope,
                frames.flatten(0, 1)[:, :width],
                out=to_words[rows].flatten(0, 1),
            )
            to_frames.flatten(0, 1).addmm_(
                slope.mT, words[rows].flatten(0, 1)[:, :width]
            )
        to_word_weight = to_frame_weight = None
        if frame_max is not None:
            to_word_weight = torch.einsum('blv,bv->bl', frame_max, grad_words)
        if word_max is not None:
            to_frame_weight = torch.einsum('btv,bv->vt', word_max, grad_frames)
        return (
            to_words,
            None,
            to_word_weight,
            to_frames.transpose(0, 1),
            None,
            to_frame_weight,
            None if to_factor is None else to_factor.mT,
            None,
            None,
        )


def _marked(tokens: Tensor, mask: Tensor, side: int) -> Tensor:
    """Shape (..., D + 2): two columns make padding lose every comparison.

    One holds what padding adds to a product, the other the 1 for what the
    padding of the other side adds. Real tokens add exactly 0.
    """
    width = tokens.shape[-1]
    result = tokens.new_ones(*mask.shape, width + 2)
    result[..., :width] = torch.where(mask[..., None], tokens, 0.0)
    result[..., width + side] = torch.where(mask, 0.0, FAR_BELOW)
    return result


def _tokens_first(tokens: Tensor, mask: Tensor) -> Tensor:
    """Frames, shape (T, V, D + 2)."""
    return _marked(tokens.transpose(0, 1), mask.mT, 1)


def _transposed(*tables: Tensor | None) -> list[Tensor | None]:
    return [None if each is None else each.mT.contiguous() for each in tables]


def _blocks(
    words: Tensor, frames: Tensor, block_bytes: int
) -> Iterator[tuple[slice, Tensor]]:
    """Rows of texts, and memory (b, L, T, V) that all blocks share."""
    texts, length, _ = words.shape
    row = length, *frames.shape[:2]
    size = max(1, block_bytes // max(1, prod(row) * words.element_size()))
    memory = words.new_empty(min(size, texts), *row)
    for start in range(0, texts, size):
        rows = slice(start, min(start + size, texts))
        yield rows, memory[: rows.stop - start]


def _products(
    words: Tensor, frames: Tensor, block_bytes: int
) -> Iterator[tuple[slice, Tensor]]:
    """Dot products, (b, L, T, V), of one block of texts after the other."""
    right = frames.flatten(0, 1).mT
    for rows, memory in _blocks(words, frames, block_bytes):
        left = words[rows].flatten(0, 1)
        torch.mm(left, right, out=memory.flatten(2).flatten(0, 1))
        yield rows, memory


def _best_frames(
    product: Tensor, factor: Tensor | None, index: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Score of each word, number of its best frame, score of the second."""
    best = product.amax(2)
    frame = _first_equal(product, best, 2)
    if index is None or factor is None:
        return best, frame, None
    cell = _cells(frame)
    second = product.take(_places(_cells(index.take(cell)), product))
    return best.addcmul_(factor.take(cell), second), frame, second


def _first_equal(product: Tensor, best: Tensor, dim: int) -> Tensor:
    """Where the maxima are; several times as fast as ``max(dim)`` on CPUs."""
    equal = product == best.unsqueeze(dim)
    size = product.shape[dim]
    dtype = _index_type(size)
    one_byte = dtype == torch.uint8
    equal = equal.view(dtype) if one_byte else equal.to(dtype)
    shape = [1] * product.dim()
    shape[dim] = size
    rank = torch.arange(size, 0, -1, dtype=dtype, device=equal.device)
    return size - equal.mul_(rank.view(shape)).amax(dim)


def _cells(frame: Tensor) -> Tensor:
    """Places of frames (b, L, V) of each video in a table (T, V)."""
    videos = frame.shape[2]
    column = torch.arange(videos, device=frame.device)
    return frame.long().mul_(videos).add_(column)


def _places(cell: Tensor, product: Tensor) -> Tensor:
    """Places of cells (b, L, V) in products (b, L, T, V)."""
    first = torch.arange(
        0, product.numel(), product[0, 0].numel(), device=cell.device
    )
    return cell + first.view(*cell.shape[:2], 1)


def _add(target: Tensor, place: Tensor, value: Tensor) -> None:
    target.view(-1).scatter_add_(0, place.view(-1), value.view(-1))


def _weighted_sum(weight: Tensor, best: Tensor) -> Tensor:
    return (weight * best).sum(1)


def _index_type(size: int) -> torch.dtype:
    return torch.uint8 if size < 256 else torch.int16
