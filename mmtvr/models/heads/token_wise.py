"""Token-wise heads: weighted token interaction (WTI) and DMAE."""

from collections.abc import Sequence

import torch
from torch import Tensor, finfo, nn

from mmtvr.ops import (
    autocast_off,
    nearest_frames,
    token_directions,
    token_similarity,
    wide_dtype,
)
from mmtvr.registry import MODELS
from mmtvr.structures import TokenFeatures

LEVELS = ('sentence', 'word')


def check_levels(levels: Sequence[str]) -> tuple[str, ...]:
    """Check names of levels.

    Args:
        levels: One or both of ``'sentence'`` and ``'word'``.

    Returns:
        The levels as a tuple.

    Raises:
        ValueError: If there is none, an unknown one, or one twice.
    """
    levels = (levels,) if isinstance(levels, str) else tuple(levels)
    known = set(levels) <= set(LEVELS)
    if not levels or not known or len(set(levels)) < len(levels):
        raise ValueError(
            f'levels must be one or both of {LEVELS}, not {levels!r}'
        )
    return levels


def as_sentence(text: TokenFeatures) -> TokenFeatures:
    """Make the sentence vector the only token.

    Args:
        text: B captions.

    Returns:
        B captions of one real token each, without textual attention.
    """
    mask = text.mask.new_ones(len(text.pooled), 1)
    return TokenFeatures(text.pooled[:, None], mask, text.pooled)


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


PARTS = dict(
    sentence=('sentence', 'frames, sentence'),
    word=('words', 'frames, best word'),
)


@MODELS.register_module()
class DMAEHead(nn.Module):
    """Dual-Modal Attention-Enhanced similarity (arXiv:2309.11082).

    The mean over the levels of :func:`mmtvr.ops.similarity`. Textual
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


@MODELS.register_module()
class TokenWiseHead(DMAEHead):
    """Token-wise similarity, TI or WTI of DRL (arXiv:2203.07111).

    :class:`DMAEHead` at one level and without visual attention. Textual
    attention is used if the features carry it.

    Args:
        embed_dims: Width D of the tokens. Only learned weighting has
            parameters.
        level: What of a caption meets the frames, ``'word'`` or
            ``'sentence'``.
        weighting: ``'mean'`` for TI, ``'learned'`` for WTI.
        hidden_layers: Hidden layers of the learned weights; DRL has 1.
        block_bytes: Memory in bytes that the word-by-frame cosines of one
            block of texts may take.

    Raises:
        ValueError: If the level or the weighting is unknown.
    """

    def __init__(
        self,
        embed_dims: int = 512,
        level: str = 'word',
        weighting: str = 'mean',
        hidden_layers: int = 0,
        block_bytes: int = 2**24,
    ) -> None:
        super().__init__(
            embed_dims=embed_dims,
            levels=(level,),
            weighting=weighting,
            visual_attention=0.0,
            hidden_layers=hidden_layers,
            block_bytes=block_bytes,
        )
