"""The ranking hinge."""

import pytest
import torch

from mmtvr.losses import MaxMarginLoss, max_margin


@pytest.mark.parametrize('negatives', ['all', 'hardest'])
def test_several_positives_equal_slow_loop(
    several_positives, slow_rows, negatives
):
    torch.manual_seed(1)
    sim = torch.randn(6, 5).double()

    def cost(p, others):
        hinges = [max(0.0, 0.3 + n - p) for n in others]
        if negatives == 'hardest':
            return max(hinges)
        return sum(hinges) / len(hinges)

    loss = max_margin(sim, several_positives, 0.3, negatives)

    expected = slow_rows(sim, several_positives, cost)
    assert loss.item() == pytest.approx(expected, abs=1e-12)


def test_margin_that_is_met_costs_nothing():
    sim = torch.eye(3, requires_grad=True)

    loss = max_margin(sim, margin=0.9)
    loss.backward()

    assert loss.item() == 0
    assert not sim.grad.any()


def test_loss_keeps_a_learnable_scale_in_the_graph():
    scale = torch.tensor(3.0, requires_grad=True)

    MaxMarginLoss()(torch.randn(3, 3), None, scale).backward()

    assert scale.grad.item() == 0


def test_unknown_kind_of_negatives_is_refused():
    with pytest.raises(ValueError, match='negatives must be'):
        max_margin(torch.eye(2), negatives='some')
    with pytest.raises(ValueError, match='negatives must be'):
        MaxMarginLoss(negatives='some')
