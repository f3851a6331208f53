"""Frames pooled by what the caption asks for: X-Pool."""

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, scaled_dot_product_attention

from mmtvr.ops import autocast_off, full_precision, text_blocks
from mmtvr.registry import MODELS
from mmtvr.structures import TokenFeatures


@MODELS.register_module()
class XPoolHead(nn.Module):
    """Text-conditioned pooling of frames, X-Pool (arXiv:2203.15086).

    The sentence vector attends to the frames of each video; the similarity is
    its cosine with what it has pooled, after a linear layer with a residual
    connection and layer normalisations. Projections start as the identity.
    Unlike the original, padded frames are not attended to. Words are not
    read.

    Args:
        embed_dims: Width D of the tokens.
        num_heads: Attention heads; they divide the width.
        dropout: Dropout after the linear layer, in training.
        block_bytes: Memory in bytes that the pooled vectors of one block of
            texts may take.

    Raises:
        ValueError: If the heads do not divide the width.
    """

    #: Of a cosine; see :class:`CosineHead`.
    score_range = (-1.0, 1.0)

    def __init__(
        self,
        embed_dims: int = 512,
        num_heads: int = 1,
        dropout: float = 0.3,
        block_bytes: int = 2**28,
    ) -> None:
        super().__init__()
        if embed_dims % num_heads:
            raise ValueError(
                f'num_heads={num_heads} must divide embed_dims={embed_dims}'
            )
        self.num_heads = num_heads
        self.block_bytes = block_bytes
        self.norm_inputs = nn.LayerNorm(embed_dims)
        self.norm_pooled = nn.LayerNorm(embed_dims)
        self.norm_output = nn.LayerNorm(embed_dims)
        self.query = _identity_linear(embed_dims)
        # The softmax over frames could not see a bias of the keys.
        self.key = _identity_linear(embed_dims, bias=False)
        self.value = _identity_linear(embed_dims)
        self.project = _identity_linear(embed_dims)
        self.feed = _identity_linear(embed_dims)
        self.dropout = nn.Dropout(dropout)

    def forward(self, text: TokenFeatures, video: TokenFeatures) -> Tensor:
        """Compare B captions with V videos.

        Returns:
            Shape (B, V), rows are texts, cosines in [-1, 1], 0 for a video
            without frames, float32 or wider.
        """
        with autocast_off(text.pooled):
            text, video = full_precision(text, video)
            frames = video.tokens.masked_fill(~video.mask[..., None], 0.0)
            frames = self.norm_inputs(frames)
            query = self._heads(self.query(self.norm_inputs(text.pooled)))
            key = self._heads(self.key(frames))
            value = self._heads(self.value(frames))
            # Pooled vectors and what becomes of them, and the attention.
            numbers = len(frames) * (6 * frames.shape[2] + frames.shape[1])
            return text_blocks(
                self._score,
                (text.pooled, query),
                key,
                value,
                video.mask,
                row_bytes=numbers * frames.element_size(),
                block_bytes=self.block_bytes,
                random=self.training and self.dropout.p > 0,
            )

    def _heads(self, x: Tensor) -> Tensor:
        """Split the width: (..., D) to (..., heads, D / heads)."""
        return x.unflatten(-1, (self.num_heads, -1))

    def _score(
        self,
        sentence: Tensor,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor,
    ) -> Tensor:
        """Scores (b, V) of a block of b texts.

        Shapes with H heads: sentence (b, D), query (b, H, D / H), key and
        value (V, T, H, D / H), mask (V, T).
        """
        has_frames = mask.any(1)
        # Without any frame allowed, attention would be NaN.
        allowed = mask | ~has_frames[:, None]
        pooled = scaled_dot_product_attention(
            query.transpose(0, 1).expand(len(key), -1, -1, -1),
            key.transpose(1, 2),
            value.transpose(1, 2),
            attn_mask=allowed[:, None, None],
        )
        pooled = pooled.transpose(1, 2).flatten(2)
        pooled = self.norm_pooled(self.project(pooled))
        pooled = pooled + self.dropout(self.feed(pooled))
        pooled = normalize(self.norm_output(pooled), dim=-1)
        cosine = torch.einsum('bd,vbd->bv', normalize(sentence), pooled)
        return cosine.masked_fill(~has_frames, 0.0)


def _identity_linear(width: int, bias: bool = True) -> nn.Linear:
    layer = nn.Linear(width, width, bias=bias)
    nn.init.eye_(layer.weight)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer
