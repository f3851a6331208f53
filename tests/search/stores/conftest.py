"""Videos and texts as vectors, and their exact ranking."""

import numpy as np
import pytest

from mmtvr.search.stores.base import (
    QueryVectors,
    StoredVideos,
    part_vectors,
)

WIDTH, PARTS, FRAMES = 16, 2, 3


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


@pytest.fixture
def drawn():
    """Sixty videos of one to three frames."""
    rng = np.random.default_rng(0)
    tokens = [
        unit(rng.standard_normal((frames, WIDTH), np.float32))
        for frames in rng.integers(1, 4, 60)
    ]
    pooled = unit(np.stack([each.mean(0) for each in tokens]))
    times = [np.arange(len(each), dtype=np.float32) for each in tokens]
    contents = [f'{number:032x}' for number in rng.permutation(60)]
    return StoredVideos(contents, pooled, tokens, times)


@pytest.fixture
def queries():
    rng = np.random.default_rng(1)
    found = []
    for count, share in ((5, 0.5), (0, 0.5), (9, 0.0)):
        words = unit(rng.standard_normal((count + 1, WIDTH), np.float32))
        weights = rng.random(count, np.float32)
        weights /= max(weights.sum(), 1)
        found.append(QueryVectors(words[0], words[1:], weights, share))
    return found


def rank_slowly(videos, query, count=PARTS):
    scores = {}
    for content, pooled, tokens, _ in zip(*videos, strict=True):
        parts = part_vectors(pooled, tokens, count)
        levels = []
        if query.share or not len(query.words):
            levels.append(([query.sentence], [1.0]))
        if len(query.words):
            levels.append((query.words, query.weights))
        scores[content] = np.mean(
            [
                sum(
                    weight * max(part @ word for part in parts)
                    for word, weight in zip(*level, strict=True)
                )
                + np.mean([max(w @ part for w in level[0]) for part in parts])
                for level in levels
            ]
        )
    return sorted(scores, key=scores.get, reverse=True)


def fill(store, videos):
    store.create(dict(width=WIDTH, precision='float16', parts=PARTS))
    half = len(videos.contents) // 2
    store.add_videos(videos.select(range(half)))
    store.add_videos(videos.select(range(half, len(videos.contents))))
    return store
