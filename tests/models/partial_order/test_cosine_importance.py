"""CosineImportance: a slow loop, padding, and gradients."""

import math

import pytest
import torch

from mmtvr.models.partial_order.importance import CosineImportance
from mmtvr.models.partial_order.tpmcl_loss import TPMCLLoss


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    keys, queries = (
        torch.nn.functional.normalize(
            torch.randn(2, count, 6, generator=generator).double(), dim=-1
        )
        for count in (5, 3)
    )
    key_mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]).bool()
    query_mask = torch.tensor([[1, 1, 0], [1, 1, 1]]).bool()
    return keys, key_mask, queries, query_mask


def test_importance_equals_slow_loop(pair):
    keys, key_mask, queries, query_mask = pair
    got = CosineImportance(0.2)(*pair)
    for row in range(2):
        powers = [
            math.exp(
                max(
                    float(keys[row, k] @ queries[row, q]) / 0.2
                    for q in range(3)
                    if query_mask[row, q]
                )
            )
            if key_mask[row, k]
            else 0.0
            for k in range(5)
        ]
        want = torch.tensor(powers, dtype=torch.float64) / sum(powers)
        torch.testing.assert_close(got[row], want, rtol=0, atol=1e-12)


def test_side_without_tokens_has_importance_zero(pair):
    keys, key_mask, queries, query_mask = pair
    none = torch.zeros_like(query_mask)
    assert not CosineImportance()(keys, key_mask, queries, none).any()
    none = torch.zeros_like(key_mask)
    assert not CosineImportance()(keys, none, queries, query_mask).any()


def test_gradients_pass_gradcheck(pair):
    keys, key_mask, queries, query_mask = pair

    def weigh(keys, queries):
        return CosineImportance(0.5)(keys, key_mask, queries, query_mask)

    keys.requires_grad_()
    queries.requires_grad_()
    assert torch.autograd.gradcheck(weigh, (keys, queries))


def test_loss_takes_it_in_place_of_the_predictor():
    loss = TPMCLLoss(8, max_words=5, max_frames=4, importance='cosine')
    assert not list(loss.parameters())
    with pytest.raises(ValueError, match='predicted'):
        TPMCLLoss(8, importance='random')
