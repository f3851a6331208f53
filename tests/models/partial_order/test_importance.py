"""The cross-modal importance of tokens."""

import pytest
import torch

from mmtvr.errors import SetupError
from mmtvr.models.partial_order import ImportancePredictor
from mmtvr.models.partial_order.importance import scaled_linear


def importances(loss, text, video):
    one = torch.ones(len(text.pooled), 1, dtype=torch.bool)
    return (
        loss.word_importance(text.tokens, text.mask, video.tokens, video.mask),
        loss.frame_importance(
            video.tokens, video.mask, text.pooled[:, None], one
        ),
    )


def test_small_case_equals_released_values(golden, small_case):
    for name, importance in zip(
        ('word', 'frame'), importances(*small_case), strict=True
    ):
        expected = torch.tensor(golden[f'tpm_{name}_weights']).double()
        torch.testing.assert_close(importance, expected, rtol=0, atol=5e-7)


def test_random_case_equals_released_values(golden_arrays, random_case):
    for name, importance in zip(
        ('word', 'frame'), importances(*random_case), strict=True
    ):
        expected = golden_arrays[f'tpm_{name}_importance']
        torch.testing.assert_close(importance, expected, rtol=0, atol=1e-10)


def slow_importance(predictor, keys, queries):
    """One pair without padding, token by token."""
    mixed = [
        sum(
            predictor.mix.weight[k, q] * query
            for q, query in enumerate(queries)
        )
        for k in range(len(keys))
    ]
    block = torch.stack(
        [torch.cat([m, key]) for m, key in zip(mixed, keys, strict=True)]
    )
    values = block.flatten()
    mean = values.sum() / len(values)
    variance = ((values - mean) ** 2).sum() / len(values)
    ratings = []
    for k, row in enumerate(block):
        normal = (row - mean) / (variance + 1e-5).sqrt()
        normal = normal * predictor.norm_weight[k] + predictor.norm_bias[k]
        hidden = predictor.hidden.weight @ normal
        # GELU by the normal distribution function.
        hidden = hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5))
        ratings.append(torch.sigmoid(predictor.out.weight[0] @ hidden))
    return torch.stack(ratings) / sum(ratings)


def test_importance_equals_slow_loop_over_real_tokens(ragged_pairs):
    torch.manual_seed(0)
    predictor = ImportancePredictor(8, 7, 5).double()
    for parameter in predictor.parameters():
        torch.nn.init.normal_(parameter)
    text, video = ragged_pairs()

    keys, queries = (
        side.tokens.masked_fill(~side.mask[..., None], 0.0)
        for side in (text, video)
    )

    importance = predictor(keys, text.mask, queries, video.mask)

    for i in range(5):
        words, frames = text.mask[i].sum(), video.mask[i].sum()
        expected = slow_importance(
            predictor, text.tokens[i, :words], video.tokens[i, :frames]
        )
        torch.testing.assert_close(importance[i, :words], expected)
        assert not importance[i, words:].any()
    torch.testing.assert_close(importance.sum(1), torch.ones(5).double())


def test_pair_without_tokens_has_finite_importance():
    predictor = ImportancePredictor(8, 3, 2)
    keys = torch.randn(2, 3, 8, requires_grad=True)
    queries = torch.randn(2, 2, 8)
    mask = torch.tensor([[False] * 3, [True] * 3])

    importance = predictor(keys, mask, queries, mask[:, :2])
    importance.square().sum().backward()

    assert not importance[0].any()
    assert keys.grad.isfinite().all()


@pytest.mark.parametrize(('keys', 'queries'), [(4, 2), (3, 3)])
def test_too_many_tokens_are_refused(keys, queries):
    predictor = ImportancePredictor(8, 3, 2)

    with pytest.raises(SetupError, match='max_words and max_frames'):
        predictor(
            torch.zeros(1, keys, 8),
            torch.ones(1, keys).bool(),
            torch.zeros(1, queries, 8),
            torch.ones(1, queries).bool(),
        )


def test_scaled_linear_equals_the_gained_block_times_the_matrix():
    torch.manual_seed(0)
    mixed = torch.randn(3, 4, 5).double().requires_grad_()
    keys = torch.randn(4, 3, 5).double().requires_grad_()
    gain = torch.randn(3, 10).double().requires_grad_()
    linear = torch.randn(6, 10).double().requires_grad_()
    block = torch.cat([mixed.transpose(0, 1), keys], 2)
    expected = (block * gain) @ linear.mT

    result = scaled_linear(mixed, keys, gain, linear)

    torch.testing.assert_close(result.transpose(0, 1), expected)
    assert torch.autograd.gradcheck(scaled_linear, (mixed, keys, gain, linear))
