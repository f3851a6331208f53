"""How much each word and each frame counts in a token-wise mean."""

from torch import finfo, nn

from mmtvr.ops import wide_dtype
from mmtvr.structures import TokenFeatures

WEIGHTINGS = ('mean', 'learned')


class TokenWeights(nn.Module):
    r"""Learned weights of tokens (the W of WTI).

    A small network f scores each token by itself, and the averaging weight of
    token p with textual attention :math:`\mu_p` becomes
    :math:`\mu_p \, \mathrm{softmax}_p f(x_p)`. The kernel brings the weights
    to sum 1, so that more key words do not mean a higher similarity (in the
    released code they do). The last layer has no bias: a softmax cannot see
    it.

    Args:
        embed_dims: Width D of the tokens.
        hidden_layers: Layers of width D with ReLU before the linear score.
            Defaults to 0, as the released code; DRL (arXiv:2203.07111) has 1.
    """

    def __init__(self, embed_dims: int, hidden_layers: int = 0) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(hidden_layers):
            layers += [nn.Linear(embed_dims, embed_dims), nn.ReLU()]
        layers.append(nn.Linear(embed_dims, 1, bias=False))
        self.score = nn.Sequential(*layers)

    def forward(self, features: TokenFeatures) -> TokenFeatures:
        """Weigh the tokens.

        Args:
            features: N captions or videos, tokens (N, S, D).

        Returns:
            The same features with new weights (N, S), in [0, max weight],
            0 at padding. Their sum over S is not brought to 1.
        """
        tokens = features.tokens.masked_fill(~features.mask[..., None], 0.0)
        score = self.score(tokens.to(self.score[-1].weight.dtype))
        score = score.squeeze(-1).to(wide_dtype(tokens))
        # Not -inf: the softmax of a row without real tokens would be NaN.
        score = score.masked_fill(~features.mask, finfo(score.dtype).min)
        weight = score.softmax(-1).masked_fill(~features.mask, 0.0)
        if features.weight is not None:
            weight = weight * features.weight.masked_fill(~features.mask, 0.0)
        return features._replace(weight=weight)


def build_token_weights(
    weighting: str, embed_dims: int, hidden_layers: int = 0
) -> nn.Module:
    """Make the module that sets the averaging weights.

    Args:
        weighting: ``'mean'`` keeps the weights of the features (TI),
            ``'learned'`` multiplies them by learned ones (WTI).
        embed_dims: Width of the tokens.
        hidden_layers: See :class:`TokenWeights`.

    Returns:
        A module from features to features.

    Raises:
        ValueError: If the weighting is not one of the two.
    """
    if weighting not in WEIGHTINGS:
        raise ValueError(
            f'weighting must be one of {WEIGHTINGS}, not {weighting!r}'
        )
    if weighting == 'mean':
        return nn.Identity()
    return TokenWeights(embed_dims, hidden_layers)
