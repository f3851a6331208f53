"""Symmetric InfoNCE."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from mmtvr.losses import info_nce
from mmtvr.registry import MODELS


def slow_info_nce(sim, match, scale):
    """Loops over both directions, rows and positives."""
    directions = []
    for matrix, positive in ((sim, match), (sim.T, match.T)):
        rows = []
        for scores, own in zip(matrix, positive, strict=True):
            negatives = [math.exp(scale * s) for s in scores[~own]]
            pairs = []
            for score in scores[own]:
                numerator = math.exp(scale * score)
                pairs.append(
                    -math.log(numerator / (numerator + sum(negatives)))
                )
            if pairs:
                rows.append(sum(pairs) / len(pairs))
        directions.append(sum(rows) / len(rows))
    return sum(directions) / 2


@pytest.mark.parametrize('size', [2, 5, 16, 64])
def test_loss_equals_released_values(golden_arrays, size):
    sim = golden_arrays[f'negnce{size}_sim']

    loss = info_nce(sim, logit_scale=100.0)

    expected = golden_arrays[f'infonce{size}_loss']
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-10)


def test_small_case_equals_released_values(golden_3x3):
    loss = info_nce(golden_3x3['sim'], logit_scale=100.0)

    expected = (golden_3x3['ce_t2v'] + golden_3x3['ce_v2t']) / 2
    assert loss.item() == pytest.approx(expected, abs=2e-7)


def test_one_positive_per_row_is_the_softmax_cross_entropy():
    torch.manual_seed(0)
    sim = torch.randn(7, 7).double()
    labels = torch.randperm(7)

    loss = info_nce(sim, labels, 3.0)

    rows = cross_entropy(3 * sim, labels)
    columns = cross_entropy(3 * sim.T, labels.argsort())
    torch.testing.assert_close(loss, (rows + columns) / 2)


def test_several_positives_equal_slow_loop(several_positives):
    torch.manual_seed(1)
    sim = torch.randn(6, 5).double()

    loss = info_nce(sim, several_positives, 2.0)

    expected = slow_info_nce(sim, several_positives, 2.0)
    assert loss.item() == pytest.approx(expected, abs=1e-12)


def test_captions_of_one_video_do_not_repel_each_other(several_positives):
    sim = torch.where(several_positives, 1.0, -1.0)
    sim[0, 0] = 0.5
    sim.requires_grad_()

    loss = info_nce(sim, several_positives, 100.0)
    loss.backward()

    assert loss.item() < 1e-6
    assert (sim.grad[several_positives] <= 0).all()


def test_half_precision_is_computed_in_float32():
    sim = torch.randn(4, 4).half()

    loss = info_nce(sim, logit_scale=torch.tensor(100.0))

    assert loss.dtype == torch.float32
    assert torch.equal(loss, info_nce(sim.float(), logit_scale=100.0))


def test_gradients_pass_gradcheck(several_positives):
    torch.manual_seed(2)
    sim = torch.randn(6, 5).double().requires_grad_()
    scale = torch.tensor(3.0).double().requires_grad_()

    assert torch.autograd.gradcheck(
        lambda s, t: info_nce(s, several_positives, t), (sim, scale)
    )


@pytest.mark.parametrize('value', [True, False])
def test_batch_of_only_one_kind_of_pair_costs_nothing(value):
    sim = torch.randn(3, 2, requires_grad=True)

    loss = info_nce(sim, torch.full((3, 2), value), 100.0)
    loss.backward()

    assert loss.item() == 0
    assert not sim.grad.any()


def test_builds_from_a_bare_dict_and_scales_the_loss():
    whole = MODELS.build(dict(type='mmtvr.InfoNCELoss'))
    half = MODELS.build(dict(type='mmtvr.InfoNCELoss', loss_weight=0.5))
    sim, labels = torch.randn(4, 4), torch.arange(4)

    torch.testing.assert_close(half(sim, labels), whole(sim) / 2)
