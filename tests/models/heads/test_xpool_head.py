"""Text-conditioned pooling against one pair at a time."""

import math

import pytest
import torch

from mmtvr.models.heads import XPoolHead


def make_head(**options):
    torch.manual_seed(0)
    head = XPoolHead(8, **options).double().eval()
    for parameter in head.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return head


@torch.no_grad()
def slow_pair(head, sentence, frames):
    """One caption, one video without padding, head by head."""
    query = head.query(head.norm_inputs(sentence))
    keys = [head.key(head.norm_inputs(frame)) for frame in frames]
    values = [head.value(head.norm_inputs(frame)) for frame in frames]
    width = len(query) // head.num_heads
    parts = []
    for start in range(0, len(query), width):
        part = slice(start, start + width)
        scores = [
            math.exp(float(query[part] @ key[part]) / math.sqrt(width))
            for key in keys
        ]
        parts.append(
            sum(
                score / sum(scores) * value[part]
                for score, value in zip(scores, values, strict=True)
            )
        )
    pooled = head.norm_pooled(head.project(torch.cat(parts)))
    pooled = head.norm_output(pooled + head.feed(pooled))
    return torch.cosine_similarity(sentence, pooled, dim=0)


@pytest.mark.parametrize('num_heads', [1, 2])
def test_similarity_equals_slow_loop(features, num_heads):
    head = make_head(num_heads=num_heads)
    text, video = features(3, 5, seed=1), features(4, 6, seed=2)

    sim = head(text, video)

    for i in range(3):
        for j in range(4):
            frames = video.tokens[j][video.mask[j]]
            expected = slow_pair(head, text.pooled[i], frames)
            torch.testing.assert_close(sim[i, j], expected)


def test_projections_start_as_the_identity(features):
    """The frame that the caption asks for weighs most from the start."""
    head = XPoolHead(8).double().eval()
    text = features(2, 3, seed=3)
    video = features(2, 4, seed=4, shortest=4)
    video.tokens[:, 1] = text.pooled

    sim = head(text, video)

    assert sim[0, 0] > sim[0, 1]
    assert sim[1, 1] > sim[1, 0]
    assert torch.equal(head.query.weight, torch.eye(8).double())


@pytest.mark.parametrize('dropout', [0.0, 0.5])
def test_blocks_repeat_the_dropout_of_the_forward_pass(features, dropout):
    text, video = features(5, 3, seed=5), features(4, 3, seed=6)
    text.pooled.requires_grad_()
    head = make_head(dropout=dropout, block_bytes=1).train()

    def loss():
        torch.manual_seed(1)
        return head(text, video).pow(2).sum()

    grad = torch.autograd.grad(loss(), text.pooled)[0]

    step = 1e-6
    with torch.no_grad():
        text.pooled[0, 0] += step
        above = loss()
        text.pooled[0, 0] -= 2 * step
        below = loss()
    numeric = (above - below) / (2 * step)
    assert grad[0, 0].item() == pytest.approx(numeric.item(), rel=1e-4)


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match='must divide'):
        XPoolHead(8, num_heads=3)
