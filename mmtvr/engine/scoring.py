"""Score texts against videos in blocks of a stated memory budget."""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from mmtvr.structures import TokenFeatures

# A head makes the word-by-frame table, a masked copy and one more of its own.
TABLES_PER_BLOCK = 3
BYTES_PER_CELL = 4

Similarity = Callable[[TokenFeatures, TokenFeatures], Tensor]


def block_shape(
    words: int, videos: int, frames: int, megabytes: float
) -> tuple[int, int]:
    """Block of texts and videos within the budget, of about as many tokens.

    What a head prepares for its texts and for its videos then costs little
    beside their products. Depends on nothing but the test set and the budget,
    so that any number of processes scores the same blocks.

    Args:
        words: Tokens of a caption, padding included.
        videos: Videos of the test set.
        frames: Tokens of a video, padding included.
        megabytes: Budget for the float32 word-by-frame tables of one block.

    Returns:
        Numbers of texts and of videos of a block, both at least 1.
    """
    pair = words * frames * TABLES_PER_BLOCK * BYTES_PER_CELL
    pairs = max(1, int(megabytes * 2**20) // pair)
    square = math.isqrt(pairs * words // max(1, frames))
    columns = max(1, min(videos, square))
    return max(1, pairs // columns), columns


def score_in_blocks(
    similarity: Similarity,
    texts: TokenFeatures,
    videos: TokenFeatures,
    megabytes: float,
    device: torch.device,
) -> Iterator[tuple[int, Tensor]]:
    """Compare every text with every video.

    Args:
        similarity: The model's comparison of B texts with V videos, (B, V).
        texts: Features of N texts.
        videos: Features of V videos, V at least 1.
        megabytes: Memory budget of a block; see :func:`block_shape`.
        device: Where the similarity runs.

    Yields:
        Number of the first text of a block of rows, and the rows: shape
        (n, V), float32, CPU.
    """
    count = len(videos.mask)
    rows, columns = block_shape(
        texts.mask.shape[1], count, videos.mask.shape[1], megabytes
    )
    for top in range(0, len(texts.mask), rows):
        asked = _slice(texts, top, rows).to(device)
        parts = [
            similarity(asked, _slice(videos, left, columns).to(device))
            for left in range(0, count, columns)
        ]
        yield top, torch.cat(parts, dim=1).float().cpu()


def _slice(features: TokenFeatures, start: int, size: int) -> TokenFeatures:
    return TokenFeatures(
        *(
            field if field is None else field[start : start + size]
            for field in features
        )
    )
