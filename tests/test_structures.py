import torch

from mmtvr.structures import TokenFeatures, concatenate, pad_tokens


def features(rows, tokens, weight=False):
    generator = torch.Generator().manual_seed(rows)
    return TokenFeatures(
        torch.randn(rows, tokens, 6, generator=generator),
        torch.ones(rows, tokens, dtype=torch.bool),
        torch.randn(rows, 6, generator=generator),
        torch.ones(rows, tokens) if weight else None,
    )


def test_joined_features_are_padded_to_the_longest():
    joined = concatenate(
        [features(2, 3, weight=True), features(1, 5, weight=True)]
    )
    assert joined.tokens.shape == (3, 5, 6)
    assert joined.mask.sum(1).tolist() == [3, 3, 5]
    assert joined.weight.sum(1).tolist() == [3, 3, 5]
    assert joined.pooled.shape == (3, 6)


def test_long_enough_features_stay_as_they_are():
    given = features(2, 3)
    assert pad_tokens(given, 3) is given
    assert concatenate([given]).weight is None
