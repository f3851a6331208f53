# ruff: noqa: ANN001, ANN201, ANN202, D103, N803 (a kernel has pointers and constants for arguments)
"""How tokens are laid out in the tiles that Triton's kernels work on."""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

MOST_TOKENS = 128


class Tile(NamedTuple):
    """How tokens are laid out in a tile of products.

    Attributes:
        texts: Texts of a tile.
        words: Words of a text, a power of 2.
        videos: Videos of a tile.
        frames: Frames of a video, a power of 2.
    """

    texts: int
    words: int
    videos: int
    frames: int


def fits(words: Tensor, frames: Tensor) -> bool:
    """Whether a text and a video have few enough tokens for one tile.

    Args:
        words: Shape (B, L, D).
        frames: Shape (V, T, D).

    Returns:
        True if neither has more than 128 tokens.
    """
    return max(words.shape[1], frames.shape[1]) <= MOST_TOKENS


def choose_tile(words: Tensor, frames: Tensor) -> Tile:
    """Choose the largest tile that the shared memory of small GPUs holds.

    Args:
        words: Shape (B, L, D).
        frames: Shape (V, T, D), the type of ``words``.

    Returns:
        A tile of at most 128 x 128 tokens, 64 x 64 in float32.
    """
    side = MOST_TOKENS if words.element_size() == 2 else MOST_TOKENS // 2
    length = triton.next_power_of_2(words.shape[1])
    size = triton.next_power_of_2(frames.shape[1])
    return Tile(max(1, side // length), length, max(1, side // size), size)


def choose_precision() -> str:
    """Tell what float32 is multiplied in, by PyTorch's own setting.

    Returns:
        A value of Triton's ``input_precision``.
    """
    return 'tf32' if torch.backends.cuda.matmul.allow_tf32 else 'ieee'


@triton.jit
def place_tokens(
    block: tl.constexpr, size: tl.constexpr, tile, count, length, mask
):  # pragma: no cover
    """Rows of the tokens of a tile in memory, and which of them are real."""
    place = tl.arange(0, block * size)
    item = tile * block + place // size
    token = place % size
    row = item * length + token
    inside = (item < count) & (token < length)
    real = tl.load(mask + row, mask=inside, other=0) != 0
    return row, real
