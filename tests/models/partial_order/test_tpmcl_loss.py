"""TPM-CL: golden values, a slow loop, locality, bounds, gradients."""

import pytest
import torch

from mmtvr.errors import SetupError
from mmtvr.models.partial_order import TPMCLLoss, triplet_similarities
from mmtvr.registry import MODELS
from mmtvr.structures import TokenFeatures

ALL = ('frames', 'word_global_frames', 'words', 'frame_global')


def make_loss(**options):
    torch.manual_seed(0)
    loss = TPMCLLoss(8, max_words=6, max_frames=4, **options).double()
    for parameter in loss.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return loss


def test_released_pair_margins_are_reproduced(golden, small_case):
    """Type 2 is the sum of the first two triplets."""
    loss, text, video = small_case
    loss.triplets = ('frames', 'word_global_frames')

    value = loss(text, video)

    assert value.item() == pytest.approx(golden['tpm_loss_type2'], abs=5e-7)


def test_random_released_margins_are_reproduced(golden_arrays, random_case):
    """With tg' scaled back to its released norm, all three are equal."""
    loss, text, video = random_case
    arrays = golden_arrays
    gap = {
        key: arrays[f'tpm_pos_{key}'] - arrays[f'tpm_neg_{key}']
        for key in ('frames', 'word_global_frames', 'words_unnormalised')
    }
    hinge = {
        key: (0.6 - value).clamp_min(0).mean() for key, value in gap.items()
    }
    exact = dict(rtol=0, atol=1e-10)
    torch.testing.assert_close(
        sum(hinge.values()), arrays['tpm_loss_three_margins'], **exact
    )

    loss.triplets = ('frames', 'word_global_frames')

    torch.testing.assert_close(
        loss(text, video).detach(),
        hinge['frames'] + hinge['word_global_frames'],
        **exact,
    )


def slow_importance(predictor, keys, queries):
    """One pair through the module, so that other pairs cannot interfere."""
    return predictor(
        keys[None],
        torch.ones(1, len(keys)).bool(),
        queries[None],
        torch.ones(1, len(queries)).bool(),
    )[0]


def slow_partial(weights, mass):
    """Numbers of the tokens that stay, by a walk down the ranking."""
    ranking = sorted(range(len(weights)), key=lambda k: -weights[k])
    total, keep = 0.0, set(ranking)
    for k in ranking[:-1]:
        total += float(weights[k])
        if total >= mass:
            break
        keep.discard(k)
    return keep


def slow_loss(loss, text, video):
    """Pair by pair, with the lists of cosines written out."""

    def sim(x, frames):
        cosines = [float(x @ frame) for frame in frames]
        return (max(cosines) + sum(cosines) / len(cosines)) / 2

    total = 0.0
    for i in range(len(text.pooled)):
        t = text.pooled[i]
        words = text.tokens[i][text.mask[i]]
        v = video.tokens[i][video.mask[i]]
        c = slow_importance(loss.frame_importance, v, t[None])
        a = slow_importance(loss.word_importance, words, v)
        kept_v = slow_partial(c, loss.mass)
        kept_w = slow_partial(a, loss.mass)
        v_part = [f if k in kept_v else 0 * f for k, f in enumerate(v)]
        tg = sum(a[k] * words[k] for k in range(len(words)))
        tg_part = sum(a[k] * words[k] for k in kept_w)
        vg = sum(c[k] * v[k] for k in range(len(v)))
        vg_part = sum(c[k] * v[k] for k in kept_v)
        tg, tg_part, vg, vg_part = (
            x / x.norm() for x in (tg, tg_part, vg, vg_part)
        )
        gaps = [
            sim(t, v) - sim(t, v_part),
            sim(tg, v) - sim(tg, v_part),
            sim(tg, v) - sim(tg_part, v),
            float(t @ vg) - float(t @ vg_part),
        ]
        total += sum(max(0.0, loss.margin - gap) for gap in gaps)
    return total / len(text.pooled)


@pytest.mark.parametrize('mass', [0.3, 0.6, 0.9])
def test_loss_equals_slow_loop(ragged_pairs, mass):
    loss = make_loss(margin=0.2, mass=mass)
    text, video = ragged_pairs(pairs=6)

    with torch.no_grad():
        value = loss(text, video)
        expected = slow_loss(loss, text, video)

    assert value.item() == pytest.approx(expected, abs=1e-12)


def test_margins_of_a_pair_do_not_see_other_pairs(ragged_pairs):
    loss = make_loss()
    text, video = ragged_pairs(pairs=5)
    together = [
        triplet_similarities(name, loss.partial_pairs(text, video))
        for name in ALL
    ]
    for i in range(5):
        row = slice(i, i + 1)
        alone = loss.partial_pairs(text.select(row), video.select(row))
        for name, (full, partial) in zip(ALL, together, strict=True):
            expected = triplet_similarities(name, alone)
            torch.testing.assert_close(full[row], expected[0])
            torch.testing.assert_close(partial[row], expected[1])


def test_loss_is_the_mean_over_pairs(ragged_pairs):
    loss = make_loss()
    text, video = ragged_pairs(pairs=5)

    rows = [slice(i, i + 1) for i in range(5)]
    alone = [loss(text.select(row), video.select(row)) for row in rows]

    torch.testing.assert_close(loss(text, video), sum(alone) / 5)


def test_padding_changes_nothing(ragged_pairs):
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
def test_partial_that_lacks_nothing_costs_the_margin(ragged_pairs, margin):
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


def test_margin_that_is_met_costs_nothing(ragged_pairs):
    loss = make_loss(margin=-2.0)

    value = loss(*ragged_pairs())

    assert value.item() == 0
    assert loss.log_values()['active_frames'].item() == 0


def test_every_parameter_receives_a_gradient(ragged_pairs):
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
    ragged_pairs, triplets, trained
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


def test_gradients_pass_gradcheck(ragged_pairs):
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


def test_no_pairs_cost_nothing_and_keep_the_graph(ragged_pairs):
    loss = make_loss()
    text, video = (side.select(slice(0, 0)) for side in ragged_pairs())

    value = loss(text, video)
    value.backward()

    assert value.item() == 0
    assert all(p.grad is not None for p in loss.parameters())


def test_log_values_are_shares_without_loss_in_their_names(ragged_pairs):
    loss = make_loss(margin=0.2)
    assert loss.log_values() == {}

    loss(*ragged_pairs())

    logged = loss.log_values()
    assert set(logged) == {
        *(f'active_{name}' for name in ALL),
        'removed_frames',
        'removed_words',
    }
    for value in logged.values():
        assert not value.requires_grad
        assert 0 <= value.item() <= 1


def test_pair_with_one_telling_token_keeps_its_gradient(ragged_pairs):
    """Importance above the mass removes nothing, unless one must go."""
    text, video = ragged_pairs(shortest=2)
    for min_removed, alive in ((0, False), (1, True)):
        loss = make_loss(mass=1e-3, min_removed=min_removed)

        loss(text, video).backward()

        logged = loss.log_values()
        assert (logged['removed_frames'].item() > 0) == alive
        grads = [p.grad.abs().max().item() for p in loss.parameters()]
        assert (max(grads) > 1e-6) == alive


def test_predictors_learn_from_the_margins(ragged_pairs):
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


def test_builds_from_a_bare_dict():
    loss = MODELS.build(dict(type='mmtvr.TPMCLLoss'))

    assert loss.triplets == ALL
    assert (loss.margin, loss.mass) == (0.6, 0.6)


def test_loss_weight_scales_the_loss(ragged_pairs):
    pairs = ragged_pairs()

    torch.testing.assert_close(
        make_loss(loss_weight=0.3)(*pairs), 0.3 * make_loss()(*pairs)
    )


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(triplets=('phrases',)), 'triplets must be'),
        (dict(triplets=()), 'triplets must be'),
        (dict(mass=0.0), 'mass must lie'),
        (dict(mass=1.5), 'mass must lie'),
    ],
)
def test_unknown_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        TPMCLLoss(**options)


def test_sides_of_different_length_are_refused(ragged_pairs):
    text, video = ragged_pairs()

    with pytest.raises(ValueError, match='5 captions and 3 videos'):
        make_loss()(text, video.select(slice(0, 3)))


def test_more_frames_than_configured_are_refused(ragged_pairs):
    with pytest.raises(SetupError, match='max_frames'):
        make_loss()(*ragged_pairs(frames=5))
