"""Each word looks for its frame, before and after time: Video-ColBERT."""

import torch
from torch import Tensor, nn

from mmtvr.ops import (
    BLOCK_BYTES,
    autocast_off,
    full_precision,
    token_directions,
)
from mmtvr.registry import MODELS
from mmtvr.structures import TokenFeatures

TEMPORAL = dict(type='mmtvr.FrameTransformer', num_layers=4)


@MODELS.register_module()
class VideoColBERTHead(nn.Module):
    r"""Two levels of MeanMaxSim (Video-ColBERT, arXiv:2503.19009).

    With M query tokens q and the tokens x of one level of a video,

    .. math:: MMS = \frac1M \sum_j \max_i \langle q_j, x_i \rangle

    and the similarity is :math:`MMS_F + MMS_V`: of the frames as they leave
    the image tower, and of what a temporal encoder makes of them and of
    learned visual expansion tokens. Interaction goes from words to frames
    only; textual attention is not read.

    The temporal encoder is a part of this head, so give the retriever
    ``temporal=None``: then features, and an index, hold the frames alone, and
    the second level is computed from them. Query expansion is an option of
    :class:`mmtvr.CLIPTextEncoder`; the dual loss is
    :class:`mmtvr.DualSigmoidLoss`.

    From the paper are both levels, their sum, the direction, and expansion
    tokens in the temporal encoder; the encoder itself (residual sum, unit
    length) is mmtvr's, and expansion tokens stand in front of the frames, so
    that padding does not move their positions.

    Args:
        embed_dims: Width D of the tokens.
        expansion_tokens: Number of learned visual expansion tokens. The
            paper's number was not found; 2 is that of an unofficial
            implementation.
        temporal: The temporal encoder. Defaults to four layers of
            :class:`mmtvr.FrameTransformer`.
        block_bytes: Memory in bytes that the word-by-frame cosines of one
            block of texts may take.
    """

    def __init__(
        self,
        embed_dims: int = 512,
        expansion_tokens: int = 2,
        temporal: dict | nn.Module | None = None,
        block_bytes: int = BLOCK_BYTES,
    ) -> None:
        super().__init__()
        if expansion_tokens < 0:
            raise ValueError(
                f'expansion_tokens must be at least 0, got {expansion_tokens}'
            )
        if not isinstance(temporal, nn.Module):
            options = dict(embed_dims=embed_dims, **(temporal or TEMPORAL))
            temporal = MODELS.build(options)
        self.temporal = temporal
        start = torch.randn(expansion_tokens, embed_dims) * embed_dims**-0.5
        # Without any there is no parameter that never gets a gradient.
        self.register_parameter(
            'expansion', nn.Parameter(start) if expansion_tokens else None
        )
        self.block_bytes = block_bytes

    def forward(self, text: TokenFeatures, video: TokenFeatures) -> Tensor:
        """Compare B captions with V videos.

        Returns:
            Shape (B, V), rows are texts, in [-2, 2], float32 or wider.
        """
        return sum(self.parts(text, video).values())

    def parts(
        self, text: TokenFeatures, video: TokenFeatures
    ) -> dict[str, Tensor]:
        """Both levels, (B, V) each in [-1, 1], that add up to it."""
        with autocast_off(text.tokens):
            text, video = full_precision(text, video)
            text = text._replace(weight=None)
            levels = {
                'words, best frame': video._replace(weight=None),
                'words, best frame in time': self._in_time(video),
            }
            return {
                name: token_directions(
                    text, level, block_bytes=self.block_bytes
                )[0]
                for name, level in levels.items()
            }

    def _in_time(self, video: TokenFeatures) -> TokenFeatures:
        """The video level: E expansion tokens and T frames."""
        tokens = video.tokens.masked_fill(~video.mask[..., None], 0.0)
        mask = video.mask
        if self.expansion is not None:
            added = self.expansion.to(tokens.dtype).expand(len(mask), -1, -1)
            tokens = torch.cat([added, tokens], 1)
            mask = torch.cat([mask.new_ones(added.shape[:2]), mask], 1)
        # A transformer cannot attend to nothing.
        seen = mask | ~mask.any(1, keepdim=True)
        level = self.temporal(TokenFeatures(tokens, seen, video.pooled))
        return level._replace(mask=mask)
