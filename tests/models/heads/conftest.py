"""Golden inputs and a loop that computes the similarity the slow way."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from mmtvr.structures import TokenFeatures

DATA = Path(__file__).parents[2] / 'data'


@pytest.fixture(scope='session')
def golden():
    """Values of the released classes, small cases, ten digits."""
    return json.loads((DATA / 'golden.json').read_text())


@pytest.fixture(scope='session')
def golden_arrays():
    """Values of the released classes on random inputs, float64."""
    arrays = np.load(DATA / 'golden.npz')
    return {key: torch.from_numpy(np.asarray(arrays[key])) for key in arrays}


def waves(shape, offset):
    """The golden inputs: sin(offset + 0.37 k + 0.011 k^2), float64."""
    k = torch.arange(math.prod(shape), dtype=torch.float64)
    return torch.sin(offset + 0.37 * k + 0.011 * k * k).view(shape)


@pytest.fixture(scope='session')
def gen():
    return waves


@pytest.fixture
def golden_pair(golden):
    """Three captions and four videos of golden.json."""
    words = normalize(waves((3, 5, 8), 0.2) + 0.4, dim=-1)
    sentence = normalize(waves((3, 1, 8), 0.1) + 0.4, dim=-1)[:, 0]
    frames = normalize(waves((4, 4, 8), 0.3) + 0.4, dim=-1)
    weight = torch.tensor(golden['inputs']['word_mask']).double()
    frame_mask = torch.tensor(golden['inputs']['video_mask']).bool()
    return (
        TokenFeatures(words, weight > 0, sentence, weight),
        TokenFeatures(frames, frame_mask, frames.mean(1)),
    )


@pytest.fixture
def features():
    """Make random float64 features with ragged masks and key words."""

    def make(rows, size, width=8, seed=0, key_words=False, shortest=1):
        random = torch.Generator().manual_seed(seed)
        shape = (rows, size, width)
        tokens = torch.randn(shape, generator=random, dtype=torch.float64)
        pooled = torch.randn(rows, width, generator=random).double()
        length = torch.randint(shortest, size + 1, (rows, 1), generator=random)
        mask = torch.arange(size) < length
        weight = None
        if key_words:
            key = torch.randint(1, 3, (rows, size), generator=random)
            weight = key.double() * mask
        return TokenFeatures(
            normalize(tokens, dim=-1), mask, normalize(pooled, dim=-1), weight
        )

    return make


def slow_pair(words, word_weight, frames, frame_weight, c, renormalise):
    """One caption and one video without padding, as the formulas say."""
    if renormalise:
        word_weight = word_weight / sum(word_weight)
        frame_weight = frame_weight / sum(frame_weight)
    text_half = 0.0
    for word, weight in zip(words, word_weight, strict=True):
        scores = [float(word @ frame) for frame in frames]
        best = max(range(len(scores)), key=scores.__getitem__)
        score = scores[best]
        likeness, second = 0.0, best
        for other in range(len(frames)):
            cosine = float(frames[best] @ frames[other])
            if other != best and cosine > likeness:
                likeness, second = cosine, other
        score += c * likeness * scores[second]
        text_half += float(weight) * score
    video_half = 0.0
    for frame, weight in zip(frames, frame_weight, strict=True):
        video_half += float(weight) * max(float(frame @ w) for w in words)
    return 0.5 * (text_half + video_half)


def slow_weights(features, row, scorer):
    mask = features.mask[row]
    weight = mask.double() if features.weight is None else features.weight[row]
    weight = weight[mask]
    if scorer is not None:
        weight = weight * scorer(features.tokens[row][mask])[:, 0].softmax(0)
    return weight


@pytest.fixture(scope='session')
def slow_similarity():
    """Similarity by loops over captions, videos, words and frames."""

    @torch.no_grad()
    def compute(
        text,
        video,
        levels,
        c=0.5,
        word_scorer=None,
        frame_scorer=None,
        renormalise=True,
    ):
        one = torch.ones(1, dtype=torch.float64)
        sim = torch.zeros(len(text.tokens), len(video.tokens)).double()
        for i in range(len(text.tokens)):
            for j in range(len(video.tokens)):
                frames = video.tokens[j][video.mask[j]]
                frame_weight = slow_weights(video, j, frame_scorer)
                if frame_scorer is None:
                    frame_weight = frame_weight / frame_weight.sum()
                for level in levels:
                    words, weight = text.pooled[i][None], one
                    if level == 'word':
                        words = text.tokens[i][text.mask[i]]
                        weight = slow_weights(text, i, word_scorer)
                    sim[i, j] += slow_pair(
                        words, weight, frames, frame_weight, c, renormalise
                    ) / len(levels)
        return sim

    return compute
