"""Operations that grow as they should, counted rather than timed."""

import pytest
import torch
from torch.nn.functional import normalize
from torch.utils.flop_counter import FlopCounterMode

from mmtvr.models import DMAEHead, TPMCLLoss
from mmtvr.models.partial_order.order_loss import compare_pairs
from mmtvr.structures import TokenFeatures

WIDTH, WORDS, FRAMES = 16, 6, 4


def features(rows, tokens):
    torch.manual_seed(rows)
    values = normalize(torch.randn(rows, tokens, WIDTH), dim=-1)
    mask = torch.ones(rows, tokens, dtype=torch.bool)
    pooled = normalize(values.mean(1), dim=-1)
    weight = torch.rand(rows, tokens) if tokens == WORDS else None
    return TokenFeatures(values.requires_grad_(), mask, pooled, weight)


def count_operations(compute, texts, videos):
    """Floating-point operations of the products, forward and backward."""
    text, video = features(texts, WORDS), features(videos, FRAMES)
    with FlopCounterMode(display=False) as counter:
        compute(text, video).sum().backward()
    return counter.get_total_flops()


def count_saved(compute, texts, videos):
    """Bytes that backward needs, each storage once."""
    text, video = features(texts, WORDS), features(videos, FRAMES)
    saved = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        value = compute(text, video)
    del value
    return sum(saved.values())


@pytest.mark.parametrize('count', [count_operations, count_saved])
def test_partial_order_loss_grows_with_the_pairs(count):
    loss = TPMCLLoss(WIDTH, WORDS, FRAMES)

    costs = [count(loss, pairs, pairs) for pairs in (64, 128, 256)]

    # What only depends on the parameters is the same in all three.
    assert costs[2] - costs[1] == pytest.approx(2 * (costs[1] - costs[0]))
    assert costs[0] > 0
    assert costs[2] / costs[0] == pytest.approx(4, rel=0.2)


@pytest.mark.parametrize('count', [count_operations, count_saved])
def test_comparing_partial_matches_grows_with_the_pairs(count):
    def compare(text, video):
        return compare_pairs(DMAEHead(WIDTH), text, video)

    costs = [count(compare, pairs, pairs) for pairs in (64, 128, 256)]

    assert costs[0] > 0
    assert costs[2] / costs[0] == pytest.approx(4, rel=0.05)


def test_similarity_grows_with_texts_and_with_videos():
    head = DMAEHead(WIDTH, visual_attention=0.5)

    one, texts, videos = (
        count_operations(head, *sizes)
        for sizes in ((16, 16), (32, 16), (16, 32))
    )

    assert one >= 2 * 16 * 16 * (WORDS + 1) * FRAMES * WIDTH
    assert texts == pytest.approx(2 * one, rel=0.05)
    assert videos == pytest.approx(2 * one, rel=0.05)
