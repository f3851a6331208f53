"""All dot products of words and frames, one block of texts after the other.

A block is (b, L, T, V), frames before videos: maxima then run over whole rows
of memory.
"""

from collections.abc import Iterator
from math import prod

import torch
from torch import Tensor

# What the padding of a side adds to a product: below every product of unit
# vectors, yet finite when it is summed.
FAR_BELOW = -1e15


def mark_padding(tokens: Tensor, mask: Tensor, side: int) -> Tensor:
    """Shape (..., D + 2): two columns make padding lose every comparison.

    One holds what padding adds to a product, the other the 1 for what the
    padding of the other side adds. Real tokens add exactly 0.
    """
    width = tokens.shape[-1]
    result = tokens.new_ones(*mask.shape, width + 2)
    result[..., :width] = torch.where(mask[..., None], tokens, 0.0)
    result[..., width + side] = torch.where(mask, 0.0, FAR_BELOW)
    return result


def tokens_first(tokens: Tensor, mask: Tensor) -> Tensor:
    """Frames, shape (T, V, D + 2)."""
    return mark_padding(tokens.transpose(0, 1), mask.mT, 1)


def transposed(*tables: Tensor | None) -> list[Tensor | None]:
    """Tables (V, T) as (T, V), for products with frames first."""
    return [None if each is None else each.mT.contiguous() for each in tables]


def text_rows(
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


def products(
    words: Tensor, frames: Tensor, block_bytes: int
) -> Iterator[tuple[slice, Tensor]]:
    """Dot products, (b, L, T, V), of one block of texts after the other."""
    right = frames.flatten(0, 1).mT
    for rows, memory in text_rows(words, frames, block_bytes):
        left = words[rows].flatten(0, 1)
        torch.mm(left, right, out=memory.flatten(2).flatten(0, 1))
        yield rows, memory


def best_frames(
    product: Tensor, factor: Tensor | None, index: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Score of each word, number of its best frame, score of the second."""
    best = product.amax(2)
    frame = first_equal(product, best, 2)
    if index is None or factor is None:
        return best, frame, None
    cell = cells(frame)
    second = product.take(places(cells(index.take(cell)), product))
    return best.addcmul_(factor.take(cell), second), frame, second


def first_equal(product: Tensor, best: Tensor, dim: int) -> Tensor:
    """Where the maxima are; several times as fast as ``max(dim)`` on CPUs.

    A NaN equals nothing, not even itself: there it is the last place.
    """
    equal = product == best.unsqueeze(dim)
    size = product.shape[dim]
    dtype = index_type(size)
    one_byte = dtype == torch.uint8
    equal = equal.view(dtype) if one_byte else equal.to(dtype)
    shape = [1] * product.dim()
    shape[dim] = size
    rank = torch.arange(size, 0, -1, dtype=dtype, device=equal.device)
    place = size - equal.mul_(rank.view(shape)).amax(dim)
    return place.clamp_(max=size - 1)


def cells(frame: Tensor) -> Tensor:
    """Places of frames (b, L, V) of each video in a table (T, V)."""
    videos = frame.shape[2]
    column = torch.arange(videos, device=frame.device)
    return frame.long().mul_(videos).add_(column)


def places(cell: Tensor, product: Tensor) -> Tensor:
    """Places of cells (b, L, V) in products (b, L, T, V)."""
    first = torch.arange(
        0, product.numel(), product[0, 0].numel(), device=cell.device
    )
    return cell + first.view(*cell.shape[:2], 1)


def add_at(target: Tensor, place: Tensor, value: Tensor) -> None:
    """Add values at places of a contiguous target, equal places too."""
    target.view(-1).scatter_add_(0, place.view(-1), value.view(-1))


def weighted_sum(weight: Tensor, best: Tensor) -> Tensor:
    """Sum over tokens, (b, S, V) to (b, V)."""
    return (weight * best).sum(1)


def index_type(size: int) -> torch.dtype:
    """The smallest type that holds the number of a token."""
    return torch.uint8 if size < 256 else torch.int16
