"""TPM-CL: golden values, a slow loop, locality, bounds, gradients."""

import pytest
import torch

from mmtvr.errors import SetupError
from mmtvr.models.partial_order import TPMCLLoss, triplet_similarities
from mmtvr.registry import MODELS

ALL = ('frames', 'word_global_frames', 'words', 'frame_global')


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
def test_loss_equals_slow_loop(make_loss, ragged_pairs, mass):
    loss = make_loss(margin=0.2, mass=mass)
    text, video = ragged_pairs(pairs=6)

    with torch.no_grad():
        value = loss(text, video)
        expected = slow_loss(loss, text, video)

    assert value.item() == pytest.approx(expected, abs=1e-12)


def test_margins_of_a_pair_do_not_see_other_pairs(make_loss, ragged_pairs):
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


def test_loss_is_the_mean_over_pairs(make_loss, ragged_pairs):
    loss = make_loss()
    text, video = ragged_pairs(pairs=5)

    rows = [slice(i, i + 1) for i in range(5)]
    alone = [loss(text.select(row), video.select(row)) for row in rows]

    torch.testing.assert_close(loss(text, video), sum(alone) / 5)


def test_log_values_are_shares_without_loss_in_their_names(
    make_loss, ragged_pairs
):
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


def test_builds_from_a_bare_dict():
    loss = MODELS.build(dict(type='mmtvr.TPMCLLoss'))

    assert loss.triplets == ALL
    assert (loss.margin, loss.mass) == (0.6, 0.6)


def test_loss_weight_scales_the_loss(make_loss, ragged_pairs):
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


def test_sides_of_different_length_are_refused(make_loss, ragged_pairs):
    text, video = ragged_pairs()

    with pytest.raises(ValueError, match='5 captions and 3 videos'):
        make_loss()(text, video.select(slice(0, 3)))


def test_more_frames_than_configured_are_refused(make_loss, ragged_pairs):
    with pytest.raises(SetupError, match='max_frames'):
        make_loss()(*ragged_pairs(frames=5))
