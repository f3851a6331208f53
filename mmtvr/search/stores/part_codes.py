"""Codes of the parts of videos, by which the first stage finds what is near.

Two numbers stand for the vector of a part: that of the nearest centroid, its
code, and that of the vector nearest to its residual. The cosines of a text
with the centroids stand for those with the parts, as in PLAID
(arXiv:2205.09707); for the best of these the residuals are added.
"""

import math
import warnings
from collections.abc import Callable, Set
from typing import NamedTuple

import numpy as np

from mmtvr.search.stores.base import CONTENT_DIGITS, QueryVectors

# What these keep of the exact ranking is in docs/results/search.md.
MAX_CENTROIDS = 8192
# Their numbers are bytes.
RESIDUALS = 256
VECTORS_PER_CENTROID = 16
KMEANS_ITERATIONS = 6
# More centroids are trained where there should be so many times as many.
GROWTH = 2
# Of a search by codes: how many videos are compared word by word.
KEPT_FOR_CODES = 10_000
# A few at a time, whose cosines stay in the cache.
SCORED_AT_ONCE = 250


class PartCodes(NamedTuple):
    """Codes of the parts of V videos, or windows of videos.

    Attributes:
        contents: Shape (V,), ASCII bytes, sorted, each once.
        codes: Shape (V, P), the centroid of each part; a video with fewer
            parts repeats its last one.
        rows: Shape (V,), ids of the rows that have the frames; shape (0,)
            where contents name them.
        centroids: Shape (C, D), float32.
        residual_codes: Shape (V, P), bytes: which of ``residuals`` is nearest
            to the difference of each part and its centroid.
        residuals: Shape (R, D), float32.
    """

    contents: np.ndarray
    codes: np.ndarray
    rows: np.ndarray
    centroids: np.ndarray
    residual_codes: np.ndarray
    residuals: np.ndarray

    @classmethod
    def empty(
        cls, centroids: np.ndarray, residuals: np.ndarray, parts: int
    ) -> 'PartCodes':
        """Codes of no video yet.

        Args:
            centroids: Shape (C, D), float32.
            residuals: Shape (R, D), float32.
            parts: Number P of parts of a video.
        """
        return cls(
            np.zeros(0, 'S'),
            np.zeros((0, parts), np.int64),
            np.zeros(0, np.int64),
            centroids,
            np.zeros((0, parts), np.uint8),
            residuals,
        )

    def fits(self, parts: int) -> bool:
        """Whether it is as fine as codes of so many parts have to be."""
        # An older mmtvr left all of the second half zero.
        return bool(self.residuals.any()) and (
            count_centroids(parts) <= GROWTH * len(self.centroids)
        )

    def add(
        self,
        contents: np.ndarray,
        codes: np.ndarray,
        residual_codes: np.ndarray,
    ) -> 'PartCodes':
        """Put in more videos, in any order; those that are there stay."""
        contents, source = np.unique(contents, return_index=True)
        is_new = ~self.includes(contents)
        contents, source = contents[is_new], source[is_new]
        place = np.searchsorted(self.contents, contents)
        width = np.promote_types(self.contents.dtype, contents.dtype)
        more = np.insert(self.codes, place, codes[source], axis=0)
        return self._replace(
            contents=np.insert(self.contents.astype(width), place, contents),
            # Column by column, as a search reads them: four times as fast.
            codes=np.asfortranarray(more),
            residual_codes=np.insert(
                self.residual_codes, place, residual_codes[source], axis=0
            ),
        )

    def includes(self, contents: np.ndarray) -> np.ndarray:
        """Which of some contents have codes; shape (N,), bool."""
        if not len(self.contents):
            return np.zeros(len(contents), bool)
        place = np.searchsorted(self.contents, contents)
        place = np.minimum(place, len(self.contents) - 1)
        return self.contents[place] == contents

    def encode(self, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Codes and residual codes, (N,), of vectors, (N, D), float32."""
        from scipy.cluster.vq import vq

        if not len(vectors):
            return np.zeros(0, np.int64), np.zeros(0, np.uint8)
        codes = vq(vectors, self.centroids)[0]
        residuals = vectors - self.centroids[codes]
        return codes, vq(residuals, self.residuals)[0].astype(np.uint8)

    def select(self, is_chosen: np.ndarray) -> 'PartCodes':
        """Some of the videos; ``is_chosen`` has shape (V,), bool."""
        return self._replace(
            contents=self.contents[is_chosen],
            codes=np.asfortranarray(self.codes[is_chosen]),
            residual_codes=self.residual_codes[is_chosen],
        )

    def choose(self, videos: Set[str]) -> np.ndarray:
        """Numbers of some videos and their windows."""
        wholes = self.contents.astype(f'S{CONTENT_DIGITS}')
        names = np.array(sorted(videos), wholes.dtype)
        first = np.searchsorted(wholes, names, 'left')
        last = np.searchsorted(wholes, names, 'right')
        counts = last - first
        before = np.cumsum(counts) - counts
        return np.arange(counts.sum()) + np.repeat(first - before, counts)

    def find_near(
        self,
        query: QueryVectors,
        count: int,
        numbers: np.ndarray | None = None,
    ) -> np.ndarray:
        """Find what is near a text by the centroids of its parts.

        Args:
            query: The text.
            count: How many.
            numbers: Of videos that may be found; None for all.

        Returns:
            Numbers, the best first.
        """
        # Vectors of the text first, videos last: numpy is fast along these.
        levels = [
            (
                share / 2,
                weights,
                vectors @ self.centroids.T,
                vectors @ self.residuals.T,
            )
            for share, vectors, weights in query.levels
        ]
        # First the half of the score that takes one number of each part.
        nearest = sum(
            share * coarse.max(axis=0) for share, _, coarse, _ in levels
        )
        codes = self.codes if numbers is None else self.codes[numbers]
        scores = sum(nearest[of_part] for of_part in codes.T)
        kept = _best(scores, max(KEPT_FOR_CODES, count))
        numbers = kept if numbers is None else numbers[kept]
        scores = np.zeros(len(numbers), np.float32)
        for first in range(0, len(numbers), SCORED_AT_ONCE):
            some = slice(first, first + SCORED_AT_ONCE)
            codes = self.codes[numbers[some]].T
            residual_codes = self.residual_codes[numbers[some]].T
            for share, weights, coarse, fine in levels:
                cosines = coarse.take(codes, axis=1)
                cosines += fine.take(residual_codes, axis=1)
                scores[some] += share * (
                    weights @ cosines.max(axis=1)
                    + cosines.max(axis=0).mean(axis=0)
                )
        return numbers[np.lexsort((numbers, -scores))[:count]]


def _best(scores: np.ndarray, count: int) -> np.ndarray:
    """Places of the highest scores, in no order."""
    if count >= len(scores):
        return np.arange(len(scores))
    return np.argpartition(scores, -count)[-count:]


def count_centroids(parts: int) -> int:
    """Number of centroids for so many parts."""
    return max(1, min(MAX_CENTROIDS, 4 * math.isqrt(parts)))


def sample_size(centroids: int) -> int:
    """From how many vectors so many centroids are trained."""
    return VECTORS_PER_CENTROID * max(centroids, RESIDUALS)


def train(
    read: Callable[[np.ndarray], np.ndarray], rows: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Find centroids of a sample of vectors, and of what these leave of it.

    Args:
        read: Gives the vectors of some rows.
        rows: Ids of all rows.
        count: How many centroids.

    Returns:
        Shapes (C, D) and (R, D), float32, the same each time; fewer where
        there are fewer rows.
    """
    from scipy.cluster.vq import vq

    rng = np.random.default_rng(0)
    size = min(len(rows), sample_size(count))
    sample = read(rng.choice(rows, size, replace=False))
    centroids = _cluster(sample, count, rng)
    sample -= centroids[vq(sample, centroids)[0]]
    return centroids, _cluster(sample, RESIDUALS, rng)


def _cluster(
    vectors: np.ndarray, count: int, rng: np.random.Generator
) -> np.ndarray:
    from scipy.cluster.vq import kmeans2

    count = min(count, len(vectors))
    first = vectors[rng.choice(len(vectors), count, replace=False)]
    with warnings.catch_warnings():
        # As where many vectors are equal; such a cluster does no harm.
        warnings.filterwarnings('ignore', 'One of the clusters is empty')
        return kmeans2(vectors, first, iter=KMEANS_ITERATIONS, minit='matrix')[
            0
        ]
