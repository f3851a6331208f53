"""Cosine of pooled vectors."""

import torch

from mmtvr.models.heads import CosineHead
from mmtvr.registry import MODELS


def test_similarity_is_the_cosine_of_the_pooled_vectors(features):
    text, video = features(3, 5, seed=1), features(4, 2, seed=2)

    sim = CosineHead()(text, video)

    assert sim.shape == (3, 4)
    for i in range(3):
        for j in range(4):
            cosine = torch.cosine_similarity(
                text.pooled[i], video.pooled[j], dim=0
            )
            torch.testing.assert_close(sim[i, j], cosine)


def test_tokens_do_not_matter(features):
    text, video = features(3, 5, seed=1), features(4, 2, seed=2)
    masked = text._replace(mask=torch.zeros_like(text.mask))

    assert torch.equal(CosineHead()(masked, video), CosineHead()(text, video))


def test_half_precision_is_compared_in_float32(features):
    text, video = (
        side._replace(pooled=side.pooled.bfloat16())
        for side in (features(3, 5), features(4, 2))
    )

    with torch.autocast('cpu', dtype=torch.bfloat16):
        sim = CosineHead()(text, video)

    assert sim.dtype == torch.float32
    exact = text.pooled.double() @ video.pooled.double().mT
    torch.testing.assert_close(sim.double(), exact, rtol=0, atol=1e-6)


def test_builds_from_a_bare_dict():
    assert not list(MODELS.build(dict(type='mmtvr.CosineHead')).parameters())
