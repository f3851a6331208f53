"""Golden pairs of TPM-CL, and a loss with the golden parameters."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from mmtvr.models.partial_order import TPMCLLoss
from mmtvr.structures import TokenFeatures

DATA = Path(__file__).parents[2] / 'data'
RELEASED = ('frames', 'word_global_frames', 'words')


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
    k = torch.arange(math.prod(shape), dtype=torch.float64)
    return torch.sin(offset + 0.37 * k + 0.011 * k * k).view(shape)


def unmasked(tokens, pooled):
    mask = torch.ones(tokens.shape[:2], dtype=torch.bool)
    return TokenFeatures(tokens, mask, pooled)


def set_parameters(predictor, mix, weight, bias, hidden, out):
    predictor.mix.weight.data = mix
    predictor.norm_weight.data = weight
    predictor.norm_bias.data = bias
    predictor.hidden.weight.data = hidden
    predictor.out.weight.data = out


@pytest.fixture
def small_case():
    """Four pairs of golden.json, width 8, 5 words, 4 frames."""
    words = normalize(waves((4, 5, 8), 0.2) + 0.4, dim=-1)
    sentence = normalize(waves((4, 8), 0.1) + 0.4, dim=-1)
    frames = normalize(waves((4, 4, 8), 0.3) + 0.4, dim=-1)
    loss = TPMCLLoss(8, max_words=5, max_frames=4, triplets=RELEASED)
    for predictor, a, n, m in (
        (loss.frame_importance, 0.5, 4, 1),
        (loss.word_importance, 0.9, 5, 4),
    ):
        set_parameters(
            predictor,
            waves((n, m), a),
            1 + 0.1 * waves((n, 16), a + 1),
            0.1 * waves((n, 16), a + 2),
            waves((4, 16), a + 3),
            waves((1, 4), a + 4),
        )
    return loss, unmasked(words, sentence), unmasked(frames, frames.mean(1))


@pytest.fixture
def random_case(golden_arrays):
    """Seven pairs of golden.npz, width 32, 12 words, 8 frames."""
    arrays = golden_arrays
    loss = TPMCLLoss(32, max_words=12, max_frames=8, triplets=RELEASED)
    for side, predictor in (
        ('frame', loss.frame_importance),
        ('word', loss.word_importance),
    ):
        names = ('mix', 'norm_weight', 'norm_bias', 'hidden', 'out')
        keys = [n if 'norm' in n else f'{n}_weight' for n in names]
        set_parameters(
            predictor, *(arrays[f'tpm_{side}_{key}'] for key in keys)
        )
    frames = arrays['tpm_frames']
    return (
        loss,
        unmasked(arrays['tpm_words'], arrays['tpm_sentence']),
        unmasked(frames, frames.mean(1)),
    )


@pytest.fixture
def ragged_pairs():
    """Make pairs with masks of different lengths, width 8, float64."""

    def make(pairs=5, words=6, frames=4, seed=0, shortest=1):
        random = torch.Generator().manual_seed(seed)
        sides = []
        for size in (words, frames):
            tokens = torch.randn(
                pairs, size, 8, generator=random, dtype=torch.float64
            )
            pooled = torch.randn(
                pairs, 8, generator=random, dtype=torch.float64
            )
            length = torch.randint(
                shortest, size + 1, (pairs, 1), generator=random
            )
            sides.append(
                TokenFeatures(
                    normalize(tokens, dim=-1),
                    torch.arange(size) < length,
                    normalize(pooled, dim=-1),
                )
            )
        return sides

    return make


@pytest.fixture(scope='session')
def make_loss():
    """Make a float64 loss of width 8 with random parameters."""

    def make(**options):
        torch.manual_seed(0)
        loss = TPMCLLoss(8, max_words=6, max_frames=4, **options).double()
        for parameter in loss.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
        return loss

    return make
