"""How important each token is to the match of its caption or video."""

from typing import Any

import torch
from torch import Tensor, finfo, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import gelu

from mmtvr.errors import SetupError


def scaled_linear(
    mixed: Tensor, keys: Tensor, gain: Tensor, linear: Tensor
) -> Tensor:
    """Compute U (w_k * [q_k ; x_k]) for each token k of each pair.

    Equal to multiplying the block of both halves by the gain and then by U,
    but one token after the other with the gain in the matrix, so that neither
    block nor a matrix for all tokens comes into memory.

    Args:
        mixed: First halves q, shape (n, B, D).
        keys: Second halves x, shape (B, n, D).
        gain: The gain w of each token, shape (n, 2 D).
        linear: The matrix U, shape (H, 2 D).

    Returns:
        Shape (n, B, H). Differentiable once.
    """
    return _ScaledLinear.apply(mixed, keys, gain, linear)


class _ScaledLinear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, mixed: Tensor, keys: Tensor, gain: Tensor, linear: Tensor
    ) -> Tensor:
        ctx.save_for_backward(mixed, keys, gain, linear)
        width = keys.shape[2]
        result = mixed.new_empty(*mixed.shape[:2], len(linear))
        for token, weight in enumerate(gain):
            matrix = (weight * linear).mT
            torch.mm(mixed[token], matrix[:width], out=result[token])
            result[token].addmm_(keys[:, token], matrix[width:])
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        mixed, keys, gain, linear = ctx.saved_tensors
        width = keys.shape[2]
        to_mixed, to_keys = torch.empty_like(mixed), torch.empty_like(keys)
        to_gain, to_linear = torch.empty_like(gain), torch.zeros_like(linear)
        to_matrix = torch.empty_like(linear)
        for token, weight in enumerate(gain):
            matrix, slope = weight * linear, grad[token]
            torch.mm(slope, matrix[:, :width], out=to_mixed[token])
            to_keys[:, token] = slope @ matrix[:, width:]
            to_matrix[:, :width] = slope.mT @ mixed[token]
            to_matrix[:, width:] = slope.mT @ keys[:, token]
            to_linear.addcmul_(to_matrix, weight)
            to_gain[token] = (to_matrix * linear).sum(0)
        return to_mixed, to_keys, to_gain, to_linear


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
            query_mask: Shape (B, m), bool. Not read.

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
        product = scaled_linear(mixed, keys, gain, linear)
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


class CosineImportance(nn.Module):
    r"""A token matters as much as its best cosine with the other side.

    .. math:: \mathrm{importance}_k =
        \mathrm{softmax}_k (\max_m \langle q_m, x_k \rangle / T)

    Nothing is learned, so it shows from the first step which tokens the
    similarity rests on, which a predictor learns late or not at all.

    Args:
        temperature: T; small values put the mass on few tokens.
    """

    def __init__(self, temperature: float = 0.1) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(
        self,
        keys: Tensor,
        key_mask: Tensor,
        queries: Tensor,
        query_mask: Tensor,
    ) -> Tensor:
        """Weigh the key tokens; see :meth:`ImportancePredictor.forward`."""
        cosine = torch.einsum('bnd,bmd->bnm', keys, queries)
        seen = key_mask[:, :, None] & query_mask[:, None]
        lowest = finfo(cosine.dtype).min
        best = cosine.masked_fill(~seen, lowest).amax(2)
        weight = (best / self.temperature).softmax(1)
        return weight.masked_fill(~seen.any(2), 0.0)
