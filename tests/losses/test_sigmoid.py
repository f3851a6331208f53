"""Each pair a yes-or-no question."""

import math

import pytest
import torch

from mmtvr.losses import SigmoidLoss, sigmoid_contrast


def test_several_positives_equal_slow_loop(several_positives):
    torch.manual_seed(2)
    sim, c, b = torch.randn(6, 5).double(), 2.0, -1.5
    expected = 0.0
    for i in range(6):
        for j in range(5):
            y = 1 if several_positives[i, j] else -1
            logit = y * (c * sim[i, j].item() + b)
            expected -= math.log(1 / (1 + math.exp(-logit))) / 6

    loss = sigmoid_contrast(sim, several_positives, c, b)

    assert loss.item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize('learnable', [True, False])
def test_bias_starts_low_and_may_learn(learnable):
    loss = SigmoidLoss(learnable=learnable)

    loss(torch.randn(3, 3, requires_grad=True), None, 10.0).backward()

    assert loss.bias.item() == -10
    assert (loss.bias.grad is not None) == learnable
