"""NegNCE: golden values, a slow loop, and where the released code fails."""

import math

import pytest
import torch

from mmtvr.losses import info_nce, neg_nce
from mmtvr.losses.neg_nce import hard_negatives, log_one_minus_softmax
from mmtvr.registry import MODELS

EYE = torch.eye(3).bool()


def slow_neg_nce(sim, match, scale, positive=1.0, negative=0.5, margin=0.0):
    """Loops over both directions, rows and pairs, in exact fractions of e."""
    directions = []
    for matrix, own in ((sim, match), (sim.T, match.T)):
        rows, hard = [], []
        for i, scores in enumerate(matrix):
            e = [math.exp(scale * s) for s in scores]
            mine = own[i].nonzero().flatten().tolist()
            others = [j for j in range(len(e)) if j not in mine]
            if not mine:
                continue
            rest = sum(e[j] for j in others)
            pairs = [-math.log(e[p] / (e[p] + rest)) for p in mine]
            rows.append(sum(pairs) / len(pairs))
            for j in others:
                rivals = [matrix[i, p] for p in mine]
                rivals += [
                    matrix[k, j] for k in range(len(matrix)) if own[k, j]
                ]
                if any(matrix[i, j] + margin > rival for rival in rivals):
                    remaining = sum(e) - e[j]
                    hard.append(-math.log(remaining / sum(e)))
        loss = positive * sum(rows) / len(rows)
        if hard:
            loss += negative * sum(hard) / len(hard)
        directions.append(loss)
    return sum(directions) / 2


def gap_matrix(gap):
    sim = torch.full((4, 4), 0.1).double().fill_diagonal_(0.3)
    sim[0, 1] = 0.3 + gap
    return sim.requires_grad_()


@pytest.mark.parametrize('size', [2, 5, 16, 64])
def test_loss_and_gradient_equal_released_values(golden_arrays, size):
    sim = golden_arrays[f'negnce{size}_sim'].clone().requires_grad_()

    loss = neg_nce(sim, logit_scale=100.0)
    loss.backward()

    exact = dict(rtol=0, atol=1e-10)
    expected = golden_arrays[f'negnce{size}_loss']
    torch.testing.assert_close(loss.detach(), expected, **exact)
    expected = golden_arrays[f'negnce{size}_grad']
    torch.testing.assert_close(sim.grad, expected, **exact)


def test_small_case_equals_released_values(golden_3x3):
    """To the 1e-6 by which the released clamp moves probabilities."""
    sim = golden_3x3['sim'].clone().requires_grad_()

    loss = neg_nce(sim, logit_scale=100.0)
    loss.backward()

    expected = (golden_3x3['t2v'] + golden_3x3['v2t']) / 2
    assert loss.item() == pytest.approx(expected, abs=1e-6)
    torch.testing.assert_close(
        sim.grad, golden_3x3['grad_sym'], rtol=0, atol=1e-5
    )
    hard = hard_negatives(golden_3x3['sim'], EYE)
    assert hard.nonzero().tolist() == [[0, 1], [2, 0]]


def test_without_violators_it_is_info_nce():
    torch.manual_seed(0)
    sim = torch.rand(5, 5).double() * 0.2
    sim.fill_diagonal_(0.3)

    loss = neg_nce(sim, logit_scale=100.0)

    assert loss.item() == pytest.approx(info_nce(sim, None, 100.0).item())


def test_ties_are_not_hard():
    sim = torch.full((3, 3), 0.2).double()

    assert not hard_negatives(sim, EYE).any()
    assert neg_nce(sim, logit_scale=100.0).item() == pytest.approx(math.log(3))


def test_hard_set_of_the_transpose_is_the_transpose(several_positives):
    torch.manual_seed(1)
    sim = torch.randn(6, 5)

    hard = hard_negatives(sim, several_positives, margin=0.1)

    assert torch.equal(
        hard_negatives(sim.T, several_positives.T, margin=0.1), hard.T
    )
    assert hard.any()


def test_loss_is_symmetric_and_blind_to_order(several_positives):
    torch.manual_seed(2)
    sim, match = torch.randn(6, 5).double(), several_positives
    rows, columns = torch.randperm(6), torch.randperm(5)

    loss = neg_nce(sim, match, 5.0)

    transposed = neg_nce(sim.T, match.T, 5.0)
    shuffled = neg_nce(sim[rows][:, columns], match[rows][:, columns], 5.0)
    torch.testing.assert_close(transposed, loss)
    torch.testing.assert_close(shuffled, loss)


@pytest.mark.parametrize(
    ('gap', 'expected'), [(0.12, 9.0), (0.2, 15.0), (0.4, 30.0)]
)
def test_worst_rows_keep_their_gradient(gap, expected):
    """The released loss freezes at 10.36 with gradient 0 beyond 0.138.

    Row 0 and column 1 hold the same numbers, so both directions cost the
    same, and each gives half of its gradient of 75.
    """
    sim = gap_matrix(gap)

    loss = neg_nce(sim, logit_scale=100.0)
    loss.backward()

    assert loss.item() == pytest.approx(expected, abs=1e-4)
    row = torch.tensor([-37.5, 75.0, 0.0, 0.0]).double()
    torch.testing.assert_close(sim.grad[0], row, rtol=0, atol=1e-2)
    assert sim.grad[1, 1].item() == pytest.approx(-37.5, abs=1e-2)


@pytest.mark.parametrize('margin', [0.0, 0.3])
def test_several_positives_equal_slow_loop(several_positives, margin):
    torch.manual_seed(3)
    for _ in range(5):
        sim = torch.randn(6, 5).double()
        options = (2.0, 0.7, 0.4, margin)

        loss = neg_nce(sim, several_positives, *options)

        expected = slow_neg_nce(sim, several_positives, *options)
        assert loss.item() == pytest.approx(expected, abs=1e-12)


def test_captions_of_one_video_are_never_hard(several_positives):
    torch.manual_seed(4)
    for _ in range(20):
        hard = hard_negatives(torch.randn(6, 5), several_positives, 10.0)

        assert not (hard & several_positives).any()
        # A text without a positive is measured by the video's positives,
        # a video without a positive by the text's; both missing: not hard.
        assert not hard[5, 4]
        assert torch.equal(
            hard | several_positives,
            several_positives.any(1)[:, None] | several_positives.any(0),
        )


def test_the_weakest_positive_decides():
    match = torch.tensor([[True, True, False]])
    sim = torch.tensor([[0.9, 0.1, 0.5]])

    assert hard_negatives(sim, match).tolist() == [[False, False, True]]


def test_log_of_the_rest_is_exact_where_probabilities_round_to_one():
    logits = torch.tensor([[200.0, 0.0, -50.0], [1.0, 1.0, 0.0]])
    logits.requires_grad_()

    log_rest = log_one_minus_softmax(logits)
    log_rest.sum().backward()

    exact = torch.log1p(-logits[1].detach().double().softmax(0))
    assert log_rest[0, 0].item() == pytest.approx(-200.0)
    torch.testing.assert_close(log_rest[1].double(), exact)
    assert logits.grad.isfinite().all()


def test_log_of_the_rest_equals_excluded_sum():
    torch.manual_seed(5)
    logits = 30 * torch.randn(6, 7).double()

    log_rest = log_one_minus_softmax(logits)

    for i in range(6):
        for j in range(7):
            rest = torch.cat([logits[i, :j], logits[i, j + 1 :]])
            expected = rest.logsumexp(0) - logits[i].logsumexp(0)
            torch.testing.assert_close(
                log_rest[i, j], expected, rtol=1e-12, atol=1e-13
            )


@pytest.mark.parametrize('scale', [1.0, 20.0])
def test_gradients_pass_gradcheck(several_positives, scale):
    torch.manual_seed(7)
    sim = torch.randn(6, 5).double().requires_grad_()
    scale = torch.tensor(scale).double().requires_grad_()

    assert torch.autograd.gradcheck(
        lambda s, t: neg_nce(s, several_positives, t), (sim, scale)
    )


def test_one_pair_costs_nothing():
    sim = torch.tensor([[0.3]], requires_grad=True)

    loss = neg_nce(sim, logit_scale=100.0)
    loss.backward()

    assert loss.item() == 0
    assert sim.grad.item() == 0


@pytest.mark.parametrize('value', [True, False])
def test_batch_of_only_one_kind_of_pair_costs_nothing(value):
    sim = torch.randn(3, 1, requires_grad=True)

    loss = neg_nce(sim, torch.full((3, 1), value), 100.0)
    loss.backward()

    assert loss.item() == 0
    assert not sim.grad.any()


def test_builds_from_a_bare_dict_and_logs_hard_negatives(golden_3x3):
    loss = MODELS.build(dict(type='mmtvr.NegNCELoss', loss_weight=0.5))
    assert loss.log_values() == {}
    sim, labels = golden_3x3['sim'], torch.arange(3)

    value = loss(sim, labels, 100.0)

    torch.testing.assert_close(value, neg_nce(sim, None, 100.0) / 2)
    logged = loss.log_values()
    assert list(logged) == ['hard_negatives_per_row']
    assert logged['hard_negatives_per_row'].item() == pytest.approx(2 / 3)
