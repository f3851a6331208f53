"""InfoNCE with weighted negatives."""

import math

import pytest
import torch

from mmtvr.losses import HardNegativeNCELoss, hard_negative_nce, info_nce


@pytest.mark.parametrize('alpha', [1.0, 0.5, 0.0])
@pytest.mark.parametrize('beta', [0.0, 0.5])
def test_several_positives_equal_slow_loop(
    several_positives, slow_rows, alpha, beta
):
    torch.manual_seed(0)
    sim, c = torch.randn(6, 5).double(), 2.0

    def cost(p, negatives):
        total = sum(math.exp(beta * c * n) for n in negatives)
        rest = sum(
            len(negatives) * math.exp(beta * c * n) / total * math.exp(c * n)
            for n in negatives
        )
        positive = math.exp(c * p)
        return -math.log(positive / (alpha * positive + rest))

    loss = hard_negative_nce(sim, several_positives, c, alpha, beta)

    expected = slow_rows(sim, several_positives, cost)
    assert loss.item() == pytest.approx(expected, abs=1e-12)


def test_loss_without_weights_is_info_nce():
    sim = torch.randn(7, 7).double()

    torch.testing.assert_close(
        hard_negative_nce(sim, None, 30.0, beta=0.0), info_nce(sim, None, 30.0)
    )


def test_negative_alpha_is_refused():
    with pytest.raises(ValueError, match='alpha must not'):
        HardNegativeNCELoss(alpha=-1.0)
