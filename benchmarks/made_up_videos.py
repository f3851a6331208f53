"""Features of videos that were never there, clustered as those of CLIP are."""

import numpy as np

WIDTH, PARTS, BATCH = 512, 4, 4000
# Shares of what a vector is made of, before it is scaled to unit length.
COMMON, TOPIC, OWN, PART = 0.7, 0.5, 0.45, 0.25
NEARNESS, GAP, NOISE = 0.45, 0.7, 0.55


class MadeUpVideos:
    """Features that are the same for the same numbers.

    Args:
        videos: How many.
    """

    def __init__(self, videos: int) -> None:
        rng = np.random.default_rng(0)
        scale = np.arange(1, WIDTH + 1) ** -0.5
        self.scale = (scale / np.linalg.norm(scale)).astype(np.float32)
        turned, _ = np.linalg.qr(rng.standard_normal((WIDTH, WIDTH)))
        self.basis = turned.astype(np.float32)
        self.count = videos
        self.topics = self._directions(rng, int(videos**0.5))
        share = 1 / np.arange(1, len(self.topics) + 1)
        self.share = share / share.sum()
        self.common, self.text = self.basis[-1], self.basis[-2]

    def make(self, first: int, count: int) -> np.ndarray:
        """Make up videos.

        Args:
            first: Number of the first one.
            count: How many.

        Returns:
            Shape (count, PARTS, WIDTH), unit vectors.
        """
        rng = np.random.default_rng([1, first])
        topic = rng.choice(len(self.share), count, p=self.share)
        video = TOPIC * self.topics[topic]
        video += OWN * self._directions(rng, count) + COMMON * self.common
        around = self._directions(rng, count * PARTS)
        return unit(video[:, None] + PART * around.reshape(-1, PARTS, WIDTH))

    def ask(self, count: int, like: str) -> tuple[np.ndarray, list[str]]:
        """Make up queries.

        Args:
            count: How many.
            like: ``'texts'`` or ``'videos'``.

        Returns:
            Shape (count, WIDTH), unit vectors, and the content of each.
        """
        rng = np.random.default_rng(2)
        numbers = rng.integers(0, self.count, count)
        if like == 'videos':
            others = self.make(10**9, count)[:, 0]
            return others, [''] * count
        starts = numbers // BATCH * BATCH
        near = np.stack(
            [
                self.make(start, min(BATCH, self.count - start))[
                    number - start, rng.integers(PARTS)
                ]
                for start, number in zip(
                    starts.tolist(), numbers.tolist(), strict=True
                )
            ]
        )
        near -= (near @ self.common)[:, None] * self.common
        queries = NEARNESS * unit(near) + GAP * self.text
        queries += NOISE * self._directions(rng, count)
        return unit(queries), [f'{number:032x}' for number in numbers]

    def _directions(self, rng: np.random.Generator, count: int) -> np.ndarray:
        drawn = rng.standard_normal((count, WIDTH), np.float32)
        return drawn * self.scale @ self.basis


def unit(vectors: np.ndarray) -> np.ndarray:
    """Scale to unit length.

    Args:
        vectors: Shape (..., D).

    Returns:
        The same shape.
    """
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
