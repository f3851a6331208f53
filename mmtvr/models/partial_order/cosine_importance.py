"""Importance of tokens by how well the other side sees them."""

import torch
from torch import Tensor, finfo, nn


class CosineImportance(nn.Module):
    r"""A token matters as much as its best cosine with the other side.

    .. math:: \mathrm{importance}_k =
        \mathrm{softmax}_k (\max_m \langle q_m, x_k \rangle / T)

    Nothing is learned, so it tells from the first step on which tokens the
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
        """Weigh the key tokens of each pair.

        Args:
            keys: Shape (B, n, D), unit vectors.
            key_mask: Shape (B, n), bool.
            queries: Shape (B, m, D), unit vectors.
            query_mask: Shape (B, m), bool.

        Returns:
            Shape (B, n), not negative, 0 at padding, sum 1 (0 without any
            real key or query).
        """
        cosine = torch.einsum('bnd,bmd->bnm', keys, queries)
        seen = key_mask[:, :, None] & query_mask[:, None]
        lowest = finfo(cosine.dtype).min
        best = cosine.masked_fill(~seen, lowest).amax(2)
        weight = (best / self.temperature).softmax(1)
        return weight.masked_fill(~seen.any(2), 0.0)
