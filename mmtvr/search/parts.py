"""The vectors by which the first stage finds a video."""

import numpy as np


def part_vectors(
    pooled: np.ndarray, tokens: np.ndarray, count: int
) -> np.ndarray:
    """Pool a video in several parts, one after the other in time.

    A caption often tells of a part of a video only. Its vector is then near
    that of the part, while the mean of all frames may be far from both.

    Args:
        pooled: Shape (D,), the vector of the whole.
        tokens: Shape (T, D), the frames; T may be 0.
        count: Number of parts wanted. 1: the whole.

    Returns:
        Shape (P, D), unit vectors: the means of P = min(count, T) parts of
        about as many frames; the whole alone for one part.
    """
    if count == 1 or len(tokens) < 2:
        return pooled[None]
    numbers = np.arange(min(count, len(tokens)))
    frames, longer = divmod(len(tokens), len(numbers))
    starts = numbers * frames + np.minimum(numbers, longer)
    # Sums, which have the directions of the means.
    vectors = np.add.reduceat(tokens, starts, axis=0, dtype=np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
