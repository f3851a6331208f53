"""Types that similarities are computed in."""

import pytest
import torch

from mmtvr.ops import full_precision, wide_dtype
from mmtvr.structures import TokenFeatures


@pytest.mark.parametrize(
    ('types', 'expected'),
    [
        ((torch.float16,), torch.float32),
        ((torch.float16, torch.bfloat16), torch.float32),
        ((torch.bfloat16, torch.float64), torch.float64),
    ],
)
def test_widest_type_is_float32_at_least(types, expected):
    assert wide_dtype(*(torch.zeros(1, dtype=t) for t in types)) == expected


def test_features_of_two_types_meet_in_one():
    tokens = torch.zeros(2, 3, 4)
    mask = torch.ones(2, 3, dtype=torch.bool)
    half = TokenFeatures(tokens.half(), mask, tokens[:, 0].half(), mask.half())
    double = TokenFeatures(tokens.double(), mask, tokens[:, 0].double())

    text, video = full_precision(half, double)

    for side in (text, video):
        assert side.tokens.dtype == side.pooled.dtype == torch.float64
        assert side.mask.dtype == torch.bool
    assert text.weight.dtype == torch.float64
    assert video.weight is None
