import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtvr.evaluation.protocols import TIE_POLICIES
from mmtvr.evaluation.ranking import (
    hits,
    place,
    ranks,
    summarise,
)


def brute_force_ranks(row, match):
    """Ranks of the first match in every order that the scores allow."""
    return [
        1 + next(i for i, item in enumerate(order) if match[item])
        for order in itertools.permutations(range(len(row)))
        if all(row[a] >= row[b] for a, b in itertools.pairwise(order))
    ]


@st.composite
def tables(draw):
    queries = draw(st.integers(1, 4))
    items = draw(st.integers(1, 5))
    scores = draw(
        st.lists(
            st.lists(
                st.sampled_from([-1.0, 0.0, 0.5]),
                min_size=items,
                max_size=items,
            ),
            min_size=queries,
            max_size=queries,
        )
    )
    match = draw(
        st.lists(
            st.lists(st.booleans(), min_size=items, max_size=items).filter(
                any
            ),
            min_size=queries,
            max_size=queries,
        )
    )
    return scores, match


@settings(max_examples=150, deadline=None)
@given(tables(), st.integers(1, 6))
def test_ranks_and_hits_equal_all_orders_of_tied_items(table, k):
    scores, match = table
    placement = place(torch.tensor(scores), torch.tensor(match))
    orders = [
        brute_force_ranks(row, answer)
        for row, answer in zip(scores, match, strict=True)
    ]
    expected = {
        'optimistic': [min(found) for found in orders],
        'pessimistic': [max(found) for found in orders],
        'expected': [np.mean(found) for found in orders],
    }
    for policy, want in expected.items():
        torch.testing.assert_close(
            ranks(placement, policy), torch.tensor(want).double()
        )
    torch.testing.assert_close(
        hits(placement, k),
        torch.tensor(
            [np.mean([r <= k for r in found]) for found in orders],
            dtype=torch.float64,
        ),
    )


def test_constant_scores_give_chance_not_one():
    placement = place(torch.zeros(4, 4), torch.eye(4).bool())
    assert summarise(placement)['R1'] == 25
    assert summarise(placement)['MnR'] == 2.5
    assert summarise(placement, ties='pessimistic')['R1'] == 0


def test_a_query_does_not_compete_with_its_own_matches():
    scores = torch.tensor([[0.9, 0.8, 0.1, 0.85]])
    match = torch.tensor([[True, True, False, True]])
    assert ranks(place(scores, match)).tolist() == [1]


def test_an_even_number_of_queries_takes_the_middle_of_two_ranks():
    scores = torch.tensor([[3.0, 2, 1, 0], [3, 2, 1, 0]])
    match = torch.tensor([[1, 0, 0, 0], [0, 0, 0, 1]]).bool()
    assert summarise(place(scores, match))['MdR'] == 2.5


@pytest.mark.parametrize('bad', [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_is_named(bad):
    scores = torch.zeros(3, 5)
    scores[1, 4] = bad
    with pytest.raises(ValueError, match='row 1, column 4'):
        place(scores, torch.ones(3, 5).bool())


def test_a_query_without_match_is_named():
    match = torch.tensor([[True, False], [False, False]])
    with pytest.raises(ValueError, match='row 1'):
        place(torch.zeros(2, 2), match)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r'\(2, 3\) and \(3, 2\)'):
        place(torch.zeros(2, 3), torch.ones(3, 2).bool())


def test_an_unknown_tie_policy_is_refused():
    placement = place(torch.zeros(1, 1), torch.ones(1, 1).bool())
    with pytest.raises(ValueError, match='lucky'):
        ranks(placement, 'lucky')


def test_no_query_is_an_error():
    placement = place(torch.zeros(0, 2), torch.ones(0, 2).bool())
    for policy in TIE_POLICIES:
        with pytest.raises(ValueError, match='no query'):
            summarise(placement, ties=policy)


def test_half_precision_scores_rank_as_their_float_values():
    scores = torch.rand(6, 9).half()
    match = torch.eye(6, 9).bool()
    for low, full in zip(
        place(scores, match), place(scores.float(), match), strict=True
    ):
        assert torch.equal(low, full)
