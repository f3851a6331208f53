"""TPM-CL: bounds, gradients, degenerate pairs."""

import pytest
import torch

from mmtvr.models.partial_order import TPMCLLoss
from mmtvr.structures import TokenFeatures

ALL = ('frames', 'word_global_frames', 'words', 'frame_global')


def test_padding_changes_nothing(make_loss, ragged_pairs):
    loss = make_loss()
    text, video = ragged_pairs(words=4, frames=3)
    padded = []
    for side in (text, video):
        more = torch.full_like(side.tokens[:, :1], float('nan'))
        no = torch.zeros_like(side.mask[:, :1])
        padded.append(
            TokenFeatures(
                torch.cat([side.tokens, more], 1).requires_grad_(),
                torch.cat([side.mask, no], 1),
                side.pooled,
            )
        )

    value = loss(*padded)
    value.backward()

    exact = dict(rtol=0, atol=1e-12)
    torch.testing.assert_close(value, loss(text, video), **exact)
    assert all(side.tokens.grad.isfinite().all() for side in padded)


@pytest.mark.parametrize('margin', [0.1, 0.6])
def test_partial_that_lacks_nothing_costs_the_margin(
    make_loss, ragged_pairs, margin
):
    """One word, one frame: nothing can be removed, nothing to learn."""
    loss = make_loss(margin=margin)
    text, video = ragged_pairs(words=1, frames=1)
    leaves = [
        x.requires_grad_() for x in (text.tokens, text.pooled, video.tokens)
    ]

    value = loss(text, video)
    grads = torch.autograd.grad(value, leaves)

    assert value.item() == pytest.approx(4 * margin)
    for grad in grads:
        torch.testing.assert_close(
            grad, torch.zeros_like(grad), rtol=0, atol=1e-15
        )
    assert all(
        value.item() == 1.0
        for key, value in loss.log_values().items()
        if key.startswith('active')
    )


def test_margin_that_is_met_costs_nothing(make_loss, ragged_pairs):
    loss = make_loss(margin=-2.0)

    value = loss(*ragged_pairs())

    assert value.item() == 0
    assert loss.log_values()['active_frames'].item() == 0


def test_every_parameter_receives_a_gradient(make_loss, ragged_pairs):
    loss = make_loss()

    loss(*ragged_pairs(pairs=8, shortest=3)).backward()

    for name, parameter in loss.named_parameters():
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize(
    ('triplets', 'trained'),
    [
        (('frames',), set()),
        (('words',), {'word_importance'}),
        (('frame_global',), {'frame_importance'}),
        (ALL[:3], {'word_importance'}),
        (ALL, {'word_importance', 'frame_importance'}),
    ],
)
def test_no_trainable_parameter_is_left_without_gradient(
    make_loss, ragged_pairs, triplets, trained
):
    """What a triplet cannot train is absent or frozen: DDP would stall."""
    loss = make_loss(triplets=triplets)
    text, video = ragged_pairs()
    text.pooled.requires_grad_()
    video.tokens.requires_grad_()

    loss(text, video).backward()

    parameters = dict(loss.named_parameters())
    reached = {
        n.split('.')[0] for n, p in parameters.items() if p.requires_grad
    }
    assert reached == trained
    for parameter in parameters.values():
        assert (parameter.grad is not None) == parameter.requires_grad


def test_gradients_pass_gradcheck(make_loss, ragged_pairs):
    loss = make_loss()
    text, video = ragged_pairs(pairs=2, words=4, frames=3)
    tensors = [text.tokens, text.pooled, video.tokens, *loss.parameters()]
    for tensor in tensors:
        tensor.requires_grad_()

    def compute(words, sentence, frames, *parameters):
        return loss(
            text._replace(tokens=words, pooled=sentence),
            video._replace(tokens=frames),
        )

    assert torch.autograd.gradcheck(compute, tensors, fast_mode=True)
    for parameter in loss.parameters():
        parameter.requires_grad_(False)
    assert torch.autograd.gradcheck(compute, tensors)


@pytest.mark.parametrize('sign', [1.0, -1.0])
@pytest.mark.parametrize('size', [(1, 1, 1), (3, 6, 4)])
@pytest.mark.parametrize(
    'dtype', [torch.float16, torch.bfloat16, torch.float32]
)
def test_degenerate_input_gives_finite_values(dtype, size, sign):
    """All tokens equal, all but one masked, cosines of +-1."""
    pairs, words, frames = size
    loss = TPMCLLoss(8, max_words=6, max_frames=4)
    vector = torch.zeros(8, dtype=dtype)
    vector[0] = 1.0
    leaves = [
        vector.expand(pairs, words, 8).clone().requires_grad_(),
        vector.expand(pairs, 8).clone().requires_grad_(),
        (sign * vector).expand(pairs, frames, 8).clone().requires_grad_(),
    ]
    for masked in (False, True):
        sides = []
        for tokens, pooled in (
            (leaves[0], leaves[1]),
            (leaves[2], leaves[2].mean(1)),
        ):
            mask = torch.ones(tokens.shape[:2], dtype=torch.bool)
            mask[:, 1:] = not masked
            sides.append(TokenFeatures(tokens, mask, pooled))

        with torch.autocast('cpu', dtype=torch.bfloat16):
            value = loss(*sides)
        value.backward()

        assert value.dtype == torch.float32
        assert value.isfinite()
        for tensor in (*leaves, *loss.parameters()):
            assert tensor.grad.isfinite().all()


def test_no_pairs_cost_nothing_and_keep_the_graph(make_loss, ragged_pairs):
    loss = make_loss()
    text, video = (side.select(slice(0, 0)) for side in ragged_pairs())

    value = loss(text, video)
    value.backward()

    assert value.item() == 0
    assert all(p.grad is not None for p in loss.parameters())


def test_pair_with_one_telling_token_keeps_its_gradient(
    make_loss, ragged_pairs
):
    """Importance above the mass removes nothing, unless one must go."""
    text, video = ragged_pairs(shortest=2)
    for min_removed, alive in ((0, False), (1, True)):
        loss = make_loss(mass=1e-3, min_removed=min_removed)

        loss(text, video).backward()

        logged = loss.log_values()
        assert (logged['removed_frames'].item() > 0) == alive
        grads = [p.grad.abs().max().item() for p in loss.parameters()]
        assert (max(grads) > 1e-6) == alive


def test_predictors_learn_from_the_margins(make_loss, ragged_pairs):
    text, video = ragged_pairs(pairs=16, shortest=3)
    loss = make_loss(min_removed=1)
    optimizer = torch.optim.Adam(loss.parameters(), 0.01)
    values = []
    for _ in range(50):
        optimizer.zero_grad()
        values.append(loss(text, video))
        values[-1].backward()
        optimizer.step()

    assert values[-1].item() < 0.95 * values[0].item()
