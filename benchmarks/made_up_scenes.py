"""Features of made-up videos of 4 scenes, in batches, and of texts of them."""

import numpy as np
import torch
from torch.nn.functional import normalize

from mmtvr.search.stores.base import StoredVideos
from mmtvr.structures import TokenFeatures

WIDTH, FRAMES, SCENES, WORDS = 512, 12, 4, 32
DIRECTIONS = 64
BATCH = 2000


def make_videos(first: int, count: int) -> StoredVideos:
    """Make up videos, the same for the same numbers.

    Args:
        first: Number of the first one.
        count: How many.

    Returns:
        Their features.
    """
    scenes = _vectors([1, first], count * SCENES).reshape(-1, SCENES, WIDTH)
    frames = scenes.repeat(FRAMES // SCENES, axis=1)
    noise = np.random.default_rng(2).standard_normal((FRAMES, WIDTH), 'f4')
    frames = _unit(frames + 0.02 * noise)
    return StoredVideos(
        [f'{number:032x}' for number in range(first, first + count)],
        _unit(frames.mean(axis=1)),
        list(frames),
        [np.arange(FRAMES, dtype=np.float32)] * count,
    )


def _vectors(seed: list[int], count: int) -> np.ndarray:
    basis = np.random.default_rng(0).standard_normal((DIRECTIONS, WIDTH), 'f4')
    rng = np.random.default_rng(seed)
    where = rng.standard_normal((count, DIRECTIONS), np.float32)
    noise = rng.standard_normal((count, WIDTH), np.float32)
    return _unit(where @ basis / DIRECTIONS**0.5 + 0.5 * noise)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def make_queries(count: int, videos: int) -> TokenFeatures:
    """Make up texts, each near a scene of a video of the index.

    Args:
        count: How many.
        videos: Number of videos of the index.

    Returns:
        Their features.
    """
    rng = np.random.default_rng(3)
    sentences = []
    for number in rng.integers(0, max(1, videos // BATCH), count):
        size = min(BATCH, videos)
        batch = make_videos(int(number) * BATCH, size)
        frame = batch.tokens[rng.integers(size)][rng.integers(FRAMES)]
        sentences.append(frame + 0.02 * rng.standard_normal(WIDTH))
    pooled = normalize(torch.tensor(np.array(sentences)).float(), dim=-1)
    noise = 0.02 * torch.randn(count, WORDS, WIDTH)
    tokens = normalize(pooled[:, None] + noise, dim=-1)
    return TokenFeatures(tokens, torch.ones(count, WORDS).bool(), pooled)
