"""Made-up vectors, in 64 directions plus noise, and their nearest."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

WIDTH, DIRECTIONS, NOISE = 512, 64, 0.5
BATCH = 2000
COUNT = 100


def make_vectors(first: int, count: int) -> np.ndarray:
    """Make up vectors, the same for the same numbers.

    Args:
        first: Number of the first one.
        count: How many.

    Returns:
        Shape (count, WIDTH), float32, unit vectors.
    """
    basis = np.random.default_rng(0).standard_normal((DIRECTIONS, WIDTH))
    rng = np.random.default_rng([1, first])
    where = rng.standard_normal((count, DIRECTIONS), np.float32)
    noise = rng.standard_normal((count, WIDTH), np.float32)
    vectors = where @ basis.astype(np.float32) / DIRECTIONS**0.5
    vectors += NOISE * noise
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class MadeUpVectors:
    """All vectors of a size, in a file.

    Args:
        path: The file; it is made unless it is there.
        size: How many.
    """

    def __init__(self, path: Path, size: int) -> None:
        self.path, self.size = path, size
        if not path.exists():
            part = path.with_suffix('.part')
            with part.open('wb') as file:
                for first in tqdm(self.starts(), f'{size} vectors'):
                    count = min(BATCH, size - first)
                    file.write(make_vectors(first, count).tobytes())
            part.rename(path)

    def starts(self) -> range:
        """Number of the first vector of each batch."""
        return range(0, self.size, BATCH)

    def batches(self) -> Iterator[tuple[int, np.ndarray]]:
        """Read all.

        Yields:
            Number of the first vector of a batch, and the batch.
        """
        table = np.memmap(self.path, np.float32, 'r').reshape(-1, WIDTH)
        for first in self.starts():
            yield first, np.array(table[first : first + BATCH])


def find_exactly(queries: np.ndarray, made: MadeUpVectors) -> list[set[int]]:
    """Find the nearest vectors of queries by comparing all.

    Args:
        queries: Shape (Q, WIDTH).
        made: The vectors.

    Returns:
        For each query the numbers of its nearest.
    """
    numbers = np.zeros((len(queries), 0), np.int64)
    scores = np.zeros((len(queries), 0), np.float32)
    for first, vectors in made.batches():
        scores = np.hstack([scores, queries @ vectors.T])
        own = np.arange(first, first + len(vectors))
        numbers = np.hstack([numbers, np.tile(own, (len(queries), 1))])
        last = min(COUNT, scores.shape[1]) - 1
        best = np.argpartition(-scores, last, axis=1)[:, : last + 1]
        scores = np.take_along_axis(scores, best, 1)
        numbers = np.take_along_axis(numbers, best, 1)
    return [set(row) for row in numbers.tolist()]
