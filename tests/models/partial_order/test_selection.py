"""Which tokens a partial version loses."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmtvr.models.partial_order import keep_less_important


def keep(importance, mask=None, mass=0.6):
    importance = torch.tensor([importance], dtype=torch.float32)
    mask = torch.ones_like(importance) if mask is None else [mask]
    mask = torch.as_tensor(mask).bool()
    return keep_less_important(importance, mask, mass)[0].int().tolist()


@pytest.mark.parametrize(
    ('importance', 'expected'),
    [
        ([0.5, 0.3, 0.2], [0, 1, 1]),
        ([0.2, 0.3, 0.5], [1, 1, 0]),
        ([0.7, 0.2, 0.1], [1, 1, 1]),
        ([0.3, 0.3, 0.2, 0.2], [0, 1, 1, 1]),
        ([1.0], [1]),
    ],
)
def test_tokens_below_the_mass_are_dropped(importance, expected):
    assert keep(importance) == expected


@pytest.mark.parametrize(
    ('tokens', 'dropped'), [(2, 1), (9, 5), (10, 5), (30, 17), (64, 38)]
)
def test_uniform_importance_drops_what_lies_below_the_mass(tokens, dropped):
    assert keep([1 / tokens] * tokens) == [0] * dropped + [1] * (
        tokens - dropped
    )


def test_padding_is_neither_dropped_nor_kept():
    assert keep([0.5, 0.3, 0.2, 0.0], [1, 1, 1, 0]) == [0, 1, 1, 0]
    assert keep([0.0, 0.0], [0, 0]) == [0, 0]


def test_last_real_token_stays_when_all_mass_is_to_go():
    assert keep([0.5, 0.3, 0.2, 0.0], [1, 1, 1, 0], mass=1.0) == [0, 0, 1, 0]
    assert keep([1.0, 0.0, 0.0], [1, 1, 1], mass=1.0) == [1, 1, 1]
    assert keep([0.25] * 4, mass=1.0) == [0, 0, 0, 1]


def test_given_number_of_tokens_is_removed_whatever_they_weigh():
    importance = torch.tensor([[0.7, 0.2, 0.1, 0.0], [1.0, 0.0, 0.0, 0.0]])
    mask = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0]]).bool()

    kept = keep_less_important(importance, mask, 0.6, min_removed=1)

    assert kept.int().tolist() == [[0, 1, 1, 0], [1, 0, 0, 0]]


def test_released_choices_are_reproduced(golden, golden_arrays):
    for side in ('word', 'frame'):
        importance = torch.tensor(golden[f'tpm_{side}_weights'])
        mask = torch.ones_like(importance).bool()
        kept = keep_less_important(importance, mask, 0.6)
        assert kept.int().tolist() == golden[f'tpm_{side}_keep']

        importance = golden_arrays[f'tpm_{side}_importance']
        mask = torch.ones_like(importance).bool()
        kept = keep_less_important(importance, mask, 0.6)
        assert torch.equal(kept.int(), golden_arrays[f'tpm_{side}_keep'])


@given(
    st.lists(st.floats(0, 1, width=32), min_size=1, max_size=12),
    st.integers(0, 4),
    st.floats(0.05, 1.0),
)
def test_dropped_tokens_are_a_prefix_and_one_stays(ratings, padding, mass):
    rating = torch.tensor(ratings) + 1e-3
    importance = torch.cat([rating / rating.sum(), torch.zeros(padding)])
    mask = torch.arange(len(importance)) < len(ratings)

    kept = keep_less_important(importance[None], mask[None], mass)[0]

    assert kept.any()
    assert not kept[~mask].any()
    dropped = importance[mask & ~kept]
    if len(dropped):
        assert dropped.min() >= importance[kept].max()
        assert dropped.double().sum() < mass
