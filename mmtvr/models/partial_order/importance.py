"""Cross-modal importance of the tokens of one side."""

import torch
from torch import Tensor, finfo, nn
from torch.nn.functional import gelu

from mmtvr.errors import SetupError

from .gained_linear import gained_linear


class ImportancePredictor(nn.Module):
    r"""How much each key token matters, seen from the other side's tokens.

    With key tokens K (n, D) and query tokens Q (m, D) of one matched pair:

    .. math:: Z = \mathrm{LayerNorm}([M Q ; K]), \quad
        r = \sigma(u\, \mathrm{GELU}(U Z)), \quad
        \mathrm{importance}_k = r_k / \textstyle\sum_k r_k

    M mixes the query tokens into one vector per key token; the normalisation
    runs over the whole (n, 2 D) block, with gain and bias of that shape. This
    is the linear form of TPM-CL's released code (arXiv:2309.11082). Padding,
    which the released code does not know, enters neither the mixture nor the
    statistics and gets importance 0.

    Args:
        embed_dims: Width D of the tokens.
        max_keys: Largest number n of key tokens.
        max_queries: Largest number m of query tokens.
        eps: Added to the variance in the normalisation.
    """

    def __init__(
        self,
        embed_dims: int,
        max_keys: int,
        max_queries: int,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.eps = eps
        self.mix = nn.Linear(max_queries, max_keys, bias=False)
        self.norm_weight = nn.Parameter(torch.ones(max_keys, 2 * embed_dims))
        self.norm_bias = nn.Parameter(torch.zeros(max_keys, 2 * embed_dims))
        self.hidden = nn.Linear(2 * embed_dims, embed_dims // 2, bias=False)
        self.out = nn.Linear(embed_dims // 2, 1, bias=False)

    def forward(
        self,
        keys: Tensor,
        key_mask: Tensor,
        queries: Tensor,
        query_mask: Tensor,
    ) -> Tensor:
        """Predict the importance of the key tokens of each pair.

        Args:
            keys: Shape (B, n, D), unit vectors, 0 at padding.
            key_mask: Shape (B, n), bool.
            queries: Shape (B, m, D), unit vectors, 0 at padding.
            query_mask: Shape (B, m), bool.

        Returns:
            Shape (B, n), not negative, 0 at padding, sum 1 (0 without any
            real token).

        Raises:
            SetupError: If there are more tokens than the parameters are for.
        """
        self._check(keys.shape[1], queries.shape[1])
        mix = self.mix.weight[: keys.shape[1], : queries.shape[1]]
        mean, scale = self._statistics(keys, key_mask, queries, mix)
        hidden = gelu(self._hidden(keys, queries, mix, mean, scale))
        rating = self.out(hidden).squeeze(-1).mT.sigmoid()
        rating = rating.masked_fill(~key_mask, 0.0)
        smallest = finfo(rating.dtype).tiny
        return rating / rating.sum(1, keepdim=True).clamp_min(smallest)

    def _hidden(
        self,
        keys: Tensor,
        queries: Tensor,
        mix: Tensor,
        mean: Tensor,
        scale: Tensor,
    ) -> Tensor:
        """Compute U Z, shape (n, B, D / 2), without the block Z in memory.

        Mean and scale of a pair are applied to what comes out.
        """
        pairs, tokens, width = keys.shape
        gain, linear = self.norm_weight[:tokens], self.hidden.weight
        mixed = mix @ queries.transpose(0, 1).flatten(1)
        mixed = mixed.view(tokens, pairs, width)
        product = gained_linear(mixed, keys, gain, linear)
        product = product - mean * (gain @ linear.mT)[:, None]
        shift = self.norm_bias[:tokens] @ linear.mT
        return torch.addcmul(shift[:, None], product, scale)

    def _statistics(
        self, keys: Tensor, key_mask: Tensor, queries: Tensor, mix: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Mean and reciprocal deviation, (B, 1), over real tokens of Z."""
        real = key_mask.to(keys.dtype)
        count = real.sum(1).clamp_min(1) * 2 * keys.shape[2]
        sums = (queries.sum(2) @ mix.mT * real).sum(1)
        gram = queries @ queries.mT
        squares = ((gram @ mix.mT * mix.mT).sum(1) * real).sum(1)
        mean = (sums + keys.sum((1, 2))) / count
        square = (squares + keys.square().sum((1, 2))) / count
        scale = (square - mean.square() + self.eps).rsqrt()
        return mean[:, None], scale[:, None]

    def _check(self, keys: int, queries: int) -> None:
        max_keys, max_queries = self.mix.weight.shape
        if keys > max_keys or queries > max_queries:
            raise SetupError(
                f'TPMCLLoss got {keys} key and {queries} query tokens, but '
                f'its parameters are for at most {max_keys} and '
                f'{max_queries}. Set max_words and max_frames of the loss to '
                'those of TokenizeText and LoadVideoFrames.'
            )
