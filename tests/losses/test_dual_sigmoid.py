"""The dual loss is a sigmoid loss for each part."""

import pytest
import torch

from mmtvr.losses import DualSigmoidLoss, sigmoid_contrast


def test_parts_are_trained_by_themselves(several_positives):
    torch.manual_seed(0)
    sim = torch.randn(6, 2, 5).double().requires_grad_()
    loss = DualSigmoidLoss(bias=-2.0, part_weights=(1.0, 3.0)).double()

    value = loss(sim, several_positives, 7.0)

    frames, videos = (
        sigmoid_contrast(sim[:, part], several_positives, 7.0, loss.bias)
        for part in (0, 1)
    )
    torch.testing.assert_close(value, frames + 3 * videos)
    value.backward()
    assert loss.bias.grad.abs() > 0
    # What one level scores does not weaken what the other learns.
    other = sim.detach().clone()
    other[:, 1] += 10
    other.requires_grad_()
    loss(other, several_positives, 7.0).backward()
    torch.testing.assert_close(other.grad[:, 0], sim.grad[:, 0])


def test_weights_must_fit_the_parts():
    with pytest.raises(ValueError, match='each of the 2 parts'):
        DualSigmoidLoss(part_weights=(1.0,))(torch.zeros(3, 2, 3))
