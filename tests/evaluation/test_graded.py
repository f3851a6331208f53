import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, ndcg_score

from mmtvr.evaluation.ranking import (
    average_precision,
    mean,
    ndcg,
    summarise_graded,
)

SCORES = st.sampled_from([-1.0, 0.0, 0.5])


@st.composite
def queries(draw):
    count = draw(st.integers(1, 6))
    scores = draw(st.lists(SCORES, min_size=count, max_size=count))
    answers = st.lists(st.booleans(), min_size=count, max_size=count)
    return scores, draw(answers.filter(any))


def orders(scores):
    """Every order of the items that the scores allow."""
    for order in itertools.permutations(range(len(scores))):
        ranked = [scores[item] for item in order]
        if ranked == sorted(scores, reverse=True):
            yield order


def slow_precision(order, match):
    places = [i for i, item in enumerate(order, 1) if match[item]]
    return np.mean([n / place for n, place in enumerate(places, 1)])


def slow_ndcg(order, match, k):
    gain = sum(
        1 / math.log2(i + 1)
        for i, item in enumerate(order, 1)
        if match[item] and i <= k
    )
    best = range(1, min(k, sum(match)) + 1)
    return gain / sum(1 / math.log2(i + 1) for i in best)


@settings(max_examples=150, deadline=None)
@given(queries(), st.integers(1, 7))
def test_measures_equal_all_orders_of_tied_items(query, k):
    scores, match = query
    table = torch.tensor([scores]), torch.tensor([match])
    precision = [slow_precision(order, match) for order in orders(scores)]
    gains = [slow_ndcg(order, match, k) for order in orders(scores)]
    for ties, pick in (
        ('optimistic', max),
        ('pessimistic', min),
        ('expected', np.mean),
    ):
        got = average_precision(*table, ties).item()
        assert got == pytest.approx(pick(precision), abs=1e-12)
        got = ndcg(*table, k, ties).item()
        assert got == pytest.approx(pick(gains), abs=1e-12)


def test_without_ties_they_are_those_of_scikit_learn():
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(5, 40, generator=generator)
    match = torch.rand(5, 40, generator=generator) < 0.2
    match[:, 0] = True
    for row, answers, ap, gain in zip(
        scores.numpy(),
        match.numpy(),
        average_precision(scores, match),
        ndcg(scores, match, 10),
        strict=True,
    ):
        assert ap.item() == pytest.approx(
            average_precision_score(answers, row)
        )
        assert gain.item() == pytest.approx(ndcg_score([answers], [row], k=10))


def test_blocks_equal_one_block():
    scores, ids = torch.rand(9, 7), torch.arange(9) % 7
    whole = summarise_graded(scores, ids, torch.arange(7))
    blocks = summarise_graded(scores, ids, torch.arange(7), block_cells=15)
    for name, values in whole.items():
        assert torch.equal(values, blocks[name])


def test_scores_that_are_not_finite_are_named():
    scores = torch.tensor([[0.0, float('nan')]])
    for measure in (average_precision, ndcg):
        with pytest.raises(ValueError, match='row 0, column 1'):
            measure(scores, torch.ones(1, 2).bool())


def test_an_unknown_tie_policy_is_refused():
    with pytest.raises(ValueError, match='lucky'):
        ndcg(torch.zeros(1, 2), torch.eye(1, 2).bool(), ties='lucky')


def test_mean_does_not_depend_on_the_order():
    values = torch.rand(1000).double() * 1e9
    assert mean(values) == mean(values.flip(0))
