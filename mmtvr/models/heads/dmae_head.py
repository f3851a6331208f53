"""Dual-modal attention: key words on one side, similar frames on the other."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmtvr.ops import (
    autocast_off,
    nearest_frames,
    token_directions,
    token_similarity,
)
from mmtvr.registry import MODELS
from mmtvr.structures import TokenFeatures

from .levels import as_sentence, check_levels
from .token_weights import build_token_weights

PARTS = dict(
    sentence=('sentence', 'frames, sentence'),
    word=('words', 'frames, best word'),
)


@MODELS.register_module()
class DMAEHead(nn.Module):
    """Dual-Modal Attention-Enhanced similarity (arXiv:2309.11082).

    The mean over the levels of :func:`mmtvr.ops.token_similarity`. Textual
    attention comes with the features: ``text.weight`` counts key words twice
    in the mean over words (``TagKeyWords`` sets it). Visual attention adds to
    each word's best frame the frame that looks most like it.

    The released code's interactions are ``levels=('sentence',)`` for ``ti``
    and, with learned weighting, ``wti``; both levels for ``att_ti`` and
    ``att_wti``.

    Args:
        embed_dims: Width D of the tokens. Only learned weighting has
            parameters.
        levels: What of a caption meets the frames: its sentence vector, its
            words, or both, averaged.
        weighting: ``'mean'``, or ``'learned'`` for learned weights of words
            and frames.
        visual_attention: Weight of the second frame; 0 switches it off.
            Defaults to 0.5, as released.
        hidden_layers: Hidden layers of the learned weights.
        block_bytes: Memory in bytes that the word-by-frame cosines of one
            block of texts may take.

    Raises:
        ValueError: If a level or the weighting is unknown.

    Examples:
        >>> from torch import eye, ones
        >>> text = TokenFeatures(eye(4)[None, :2], ones(1, 2).bool(),
        ...                      eye(4)[:1])
        >>> video = TokenFeatures(eye(4)[None, :1], ones(1, 1).bool(),
        ...                       eye(4)[:1])
        >>> DMAEHead(embed_dims=4)(text, video)
        tensor([[0.8750]])
    """

    def __init__(
        self,
        embed_dims: int = 512,
        levels: Sequence[str] = ('sentence', 'word'),
        weighting: str = 'mean',
        visual_attention: float = 0.5,
        hidden_layers: int = 0,
        block_bytes: int = 2**24,
    ) -> None:
        super().__init__()
        self.levels = check_levels(levels)
        self.visual_attention = visual_attention
        self.block_bytes = block_bytes
        self.frame_weights = build_token_weights(
            weighting, embed_dims, hidden_layers
        )
        # One sentence vector needs no weight: parameters here would be dead.
        self.word_weights = (
            build_token_weights(weighting, embed_dims, hidden_layers)
            if 'word' in self.levels
            else nn.Identity()
        )

    def forward(self, text: TokenFeatures, video: TokenFeatures) -> Tensor:
        """Compare all captions with all videos.

        Args:
            text: B captions.
            video: V videos.

        Returns:
            Shape (B, V), rows are texts, in [-1, 1 + visual_attention / 2],
            float32 or wider.
        """
        with autocast_off(text.tokens):
            video = self.frame_weights(video)
            neighbours = nearest_frames(video, self.visual_attention)
            similarities = [
                token_similarity(
                    self._at_level(level, text),
                    video,
                    neighbours,
                    self.block_bytes,
                )
                for level in self.levels
            ]
            return torch.stack(similarities).mean(0)

    def parts(
        self, text: TokenFeatures, video: TokenFeatures
    ) -> dict[str, Tensor]:
        """Tell what the similarities are made of.

        Args:
            text: B captions.
            video: V videos.

        Returns:
            Shape (B, V) each; their sum is the similarity.
        """
        parts = {}
        with autocast_off(text.tokens):
            video = self.frame_weights(video)
            neighbours = nearest_frames(video, self.visual_attention)
            share = 0.5 / len(self.levels)
            for level in self.levels:
                tokens = self._at_level(level, text)
                first, back = token_directions(tokens, video)
                there, and_back = PARTS[level]
                parts[f'{there}, best frame'] = share * first
                if neighbours is not None:
                    both, _ = token_directions(tokens, video, neighbours)
                    parts[f'{there}, second frame'] = share * (both - first)
                parts[and_back] = share * back
        return parts

    def _at_level(self, level: str, text: TokenFeatures) -> TokenFeatures:
        if level == 'sentence':
            return as_sentence(text)
        return self.word_weights(text)
