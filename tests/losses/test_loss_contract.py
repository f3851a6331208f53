"""What every contrastive loss promises."""

import pytest
import torch

from mmtvr.registry import MODELS

NAMES = (
    'InfoNCELoss',
    'NegNCELoss',
    'SigmoidLoss',
    'HardNegativeNCELoss',
    'MaxMarginLoss',
    'DualSigmoidLoss',
)


def build(name, **options):
    return MODELS.build(dict(type=f'mmtvr.{name}', **options))


@pytest.mark.parametrize('name', NAMES)
def test_every_loss_is_blind_to_order(several_positives, name):
    torch.manual_seed(3)
    sim, match, loss = torch.randn(6, 5), several_positives, build(name)
    rows, columns = torch.randperm(6), torch.randperm(5)

    shuffled = loss(sim[rows][:, columns], match[rows][:, columns], 5.0)

    torch.testing.assert_close(shuffled, loss(sim, match, 5.0))


@pytest.mark.parametrize('name', NAMES)
def test_every_loss_reads_labels_masks_and_the_diagonal_alike(name):
    torch.manual_seed(4)
    sim, loss = torch.randn(5, 5), build(name)

    values = [
        loss(sim, match, 5.0)
        for match in (None, torch.arange(5), torch.eye(5).bool())
    ]

    assert values[0] == values[1] == values[2]
    half = build(name, loss_weight=0.5)
    torch.testing.assert_close(half(sim, None, 5.0), values[0] / 2)


@pytest.mark.parametrize('name', NAMES)
def test_every_loss_prefers_positives_above_negatives(name):
    torch.manual_seed(5)
    loss, sim = build(name), torch.rand(5, 5) * 0.2
    better = sim + 0.3 * torch.eye(5)
    sim.requires_grad_()

    value = loss(sim, None, 10.0)
    value.backward()

    assert loss(better, None, 10.0) < value
    assert (sim.grad.diagonal() <= 0).all()
    assert sim.grad.diagonal().any()


@pytest.mark.parametrize('name', NAMES)
def test_gradients_pass_gradcheck(several_positives, name):
    torch.manual_seed(6)
    loss = build(name).double()
    sim = torch.randn(6, 5).double().requires_grad_()
    scale = torch.tensor(3.0).double().requires_grad_()

    assert torch.autograd.gradcheck(
        lambda s, c: loss(s, several_positives, c), (sim, scale)
    )


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('dtype', [torch.float32, torch.half, torch.bfloat16])
@pytest.mark.parametrize(
    ('sim', 'match'),
    [
        (torch.ones(1, 1), None),
        (-torch.ones(1, 1), None),
        (torch.ones(3, 3), None),
        (2 * torch.eye(3) - 1, None),
        (1 - 2 * torch.eye(3), None),
        (torch.ones(3, 2), torch.ones(3, 2).bool()),
        (torch.ones(3, 2), torch.zeros(3, 2).bool()),
    ],
)
def test_degenerate_input_gives_finite_values(name, dtype, sim, match):
    sim = sim.to(dtype, copy=True).requires_grad_()

    value = build(name)(sim, match, 100.0)
    value.backward()

    assert value.dtype == torch.float32
    assert value.isfinite()
    assert sim.grad.isfinite().all()
