"""Token-wise heads: weighted token interaction (WTI) and DMAE."""

from collections.abc import Sequence

import torch
from torch import Tensor, finfo, nn

from mmtvr.errors import SetupError
from mmtvr.ops import (
    BLOCK_BYTES,
    autocast_off,
    check_kernel,
    nearest_frames,
    token_directions,
    token_similarity,
    wide_dtype,
)
from mmtvr.registry import MODELS
from mmtvr.structures import TokenFeatures

LEVELS = ('sentence', 'word')
WEIGHTINGS = ('mean', 'learned')
LEVEL_WEIGHTS = ('equal', 'learned', 'gated')


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
        hidden_layers: Layers of width D with ReLU before the linear score:
            0 in the released code, 1 in DRL (arXiv:2203.07111).
    """

    def __init__(self, embed_dims: int, hidden_layers: int = 0) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(hidden_layers):
            layers += [nn.Linear(embed_dims, embed_dims), nn.ReLU()]
        layers.append(nn.Linear(embed_dims, 1, bias=False))
        self.score = nn.Sequential(*layers)

    def forward(self, features: TokenFeatures) -> TokenFeatures:
        """Give N captions or videos new weights (N, S), 0 at padding.

        They are in [0, max weight]; their sum is not brought to 1.
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


class Background(nn.Module):
    """The last videos of training, as tokens, to compare captions with.

    Args:
        videos: How many are kept.
        tokens: Tokens of each; longer ones are cut.
        embed_dims: Width D of the tokens.
    """

    def __init__(self, videos: int, tokens: int, embed_dims: int) -> None:
        super().__init__()
        shape = videos, tokens
        self.register_buffer('tokens', torch.zeros(*shape, embed_dims))
        self.register_buffer('mask', torch.zeros(shape, dtype=torch.bool))

    def add(self, video: TokenFeatures) -> None:
        """Put V videos in front of those that are kept, without gradient."""
        kept, size = self.mask.shape
        new, shown = video.tokens.detach()[:kept, :size], video.mask
        shown = shown[:kept, :size]
        count, length = shown.shape
        self.tokens.copy_(self.tokens.roll(count, 0))
        self.mask.copy_(self.mask.roll(count, 0))
        self.tokens[:count] = 0.0
        self.mask[:count] = False
        self.tokens[:count, :length] = new.to(self.tokens)
        self.mask[:count, :length] = shown

    def videos(self) -> TokenFeatures | None:
        """Those that are kept, or None before there are any."""
        rows = self.mask.any(1)
        if not rows.any():
            return None
        tokens, mask = self.tokens[rows], self.mask[rows]
        shares = mask / mask.sum(1, keepdim=True)
        pooled = (tokens * shares[..., None]).sum(1)
        return TokenFeatures(tokens, mask, pooled)


PARTS = dict(
    sentence=('sentence', 'frames, sentence'),
    word=('words', 'frames, best word'),
)


@MODELS.register_module()
class DMAEHead(nn.Module):
    """Dual-Modal Attention-Enhanced similarity (arXiv:2309.11082).

    The mean over the levels of :func:`mmtvr.ops.similarity`, or a learned
    average. Textual attention comes with the features: ``text.weight`` counts
    key words twice in the mean over words (``TagKeyWords`` sets it). Visual
    attention adds to each word's best frame the frame that looks most like it.

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
        evidence: Power p of the length of a caption by which what it finds
            beyond the background counts when matches are ranked, see
            :meth:`weigh`; 0 to rank by the similarity as it is trained. No
            order of videos for a caption depends on it; that of captions for
            a video does.
        background: Number of videos, the last of the training, whose mean
            similarity is the background of a caption. They are part of the
            checkpoint.
        background_tokens: Tokens of each of them at most.
        block_bytes: Memory in bytes that the word-by-frame cosines of one
            block of texts may take.
        kernel: ``'torch'``, or ``'triton'`` for the fused kernel on GPUs,
            which was never measured on one and cannot learn weights. CPUs
            always use PyTorch.
        level_weights: How two levels are averaged: ``'equal'``, as released;
            ``'learned'``, by two weights of the model; ``'gated'``, by two
            weights that are linear in the sentence vector of each caption.
            Learned and gated weights start equal.

    Raises:
        ValueError: If a level, one of the weightings or the kernel is
            unknown.
        SetupError: If Triton is asked for and missing, or the weighting is
            learned.

    Example:
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
        evidence: float = 0.0,
        background: int = 0,
        background_tokens: int = 16,
        block_bytes: int = BLOCK_BYTES,
        kernel: str = 'torch',
        level_weights: str = 'equal',
    ) -> None:
        super().__init__()
        self.levels = _check_levels(levels)
        if weighting not in WEIGHTINGS:
            raise ValueError(
                f'weighting must be one of {WEIGHTINGS}, not {weighting!r}'
            )
        if level_weights not in LEVEL_WEIGHTS:
            raise ValueError(
                f'level_weights must be one of {LEVEL_WEIGHTS}, not '
                f'{level_weights!r}'
            )
        learned = weighting == 'learned'
        if check_kernel(kernel) == 'triton' and learned:
            raise SetupError(
                "kernel='triton' has no gradient for weighting='learned': set "
                "kernel='torch'"
            )
        self.visual_attention = visual_attention
        self.block_bytes = block_bytes
        self.kernel = kernel
        self.evidence = evidence
        self.background = None
        if background:
            self.background = Background(
                background, background_tokens, embed_dims
            )
        self.level_bias = self.level_gate = None
        if level_weights != 'equal' and len(self.levels) > 1:
            self.level_bias = nn.Parameter(torch.zeros(len(self.levels)))
            if level_weights == 'gated':
                self.level_gate = nn.Linear(
                    embed_dims, len(self.levels), bias=False
                )
                nn.init.zeros_(self.level_gate.weight)
        self.frame_weights = self.word_weights = nn.Identity()
        if learned:
            self.frame_weights = TokenWeights(embed_dims, hidden_layers)
            # One sentence vector needs no weight, whose parameters were dead.
            if 'word' in self.levels:
                self.word_weights = TokenWeights(embed_dims, hidden_layers)

    @property
    def score_range(self) -> tuple[float, float]:
        """Lowest and highest similarity."""
        largest = 1.0 + self.visual_attention / 2
        return -largest, largest

    def forward(self, text: TokenFeatures, video: TokenFeatures) -> Tensor:
        """Compare B captions with V videos.

        Returns:
            Shape (B, V), rows are texts, in [-1, 1 + visual_attention / 2],
            float32 or wider. In evaluation with ``evidence``, as
            :meth:`weigh` gives them.
        """
        sim = self._compare(text, video)
        if self.training or not self.evidence:
            return sim
        background, factor = self.weigh(text)
        return factor[:, None] * (sim - background[:, None])

    def observe(self, video: TokenFeatures) -> None:
        """See the V videos of a training step, of all processes."""
        if self.background is not None:
            self.background.add(video)

    def weigh(self, text: TokenFeatures) -> tuple[Tensor, Tensor]:
        r"""Background b and factor of B captions, (B,) each.

        A mean over words does not say how much a caption describes: a video
        that shows all of it scores like one that shows the half that is
        left. With n tokens a similarity s counts as

        .. math:: n^p (s - b), \qquad b = \tfrac1K \sum_k s(\text{video}_k)

        over the K videos of the background, 0 without any.
        """
        length = text.mask.sum(1).clamp_min(1).to(wide_dtype(text.tokens))
        known = None
        if self.background is not None:
            known = self.background.videos()
        if known is None:
            background = torch.zeros_like(length)
        else:
            background = self._compare(text, known).mean(1)
        return background, length**self.evidence

    def _compare(self, text: TokenFeatures, video: TokenFeatures) -> Tensor:
        with autocast_off(text.tokens):
            video = self.frame_weights(video)
            neighbours = nearest_frames(video, self.visual_attention)
            shares = self.level_shares(text).mT[..., None]
            # One level at a time: a table of all pairs may be large.
            return sum(
                share
                * token_similarity(
                    self._at_level(level, text),
                    video,
                    neighbours,
                    self.block_bytes,
                    self.kernel,
                )
                for level, share in zip(self.levels, shares, strict=True)
            )

    def level_shares(self, text: TokenFeatures) -> Tensor:
        """Weights (B, L) of the L levels for B captions, of sum 1."""
        if self.level_bias is None:
            logits = text.pooled.new_zeros(len(self.levels))
        else:
            logits = self.level_bias
        if self.level_gate is not None:
            inputs = text.pooled.to(self.level_gate.weight.dtype)
            logits = logits + self.level_gate(inputs)
        shares = logits.to(wide_dtype(text.tokens)).softmax(-1)
        return shares.expand(len(text.pooled), -1)

    def parts(
        self, text: TokenFeatures, video: TokenFeatures
    ) -> dict[str, Tensor]:
        """Named parts of the similarity, (B, V) each, that add up to it."""
        parts = {}
        with autocast_off(text.tokens):
            video = self.frame_weights(video)
            neighbours = nearest_frames(video, self.visual_attention)
            shares = 0.5 * self.level_shares(text).mT[..., None]
            for level, share in zip(self.levels, shares, strict=True):
                tokens = self._at_level(level, text)
                first, back = token_directions(tokens, video)
                there, and_back = PARTS[level]
                parts[f'{there}, best frame'] = share * first
                if neighbours is not None:
                    both, _ = token_directions(tokens, video, neighbours)
                    parts[f'{there}, second frame'] = share * (both - first)
                parts[and_back] = share * back
        if self.training or not self.evidence:
            return parts
        background, factor = self.weigh(text)
        first = next(iter(parts.values()))
        parts['background'] = -background[:, None].expand_as(first)
        return {name: factor[:, None] * part for name, part in parts.items()}

    def _at_level(self, level: str, text: TokenFeatures) -> TokenFeatures:
        if level == 'word':
            return self.word_weights(text)
        mask = text.mask.new_ones(len(text.pooled), 1)
        return TokenFeatures(text.pooled[:, None], mask, text.pooled)


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
        evidence: See :class:`DMAEHead`.
        background: See :class:`DMAEHead`.
        background_tokens: See :class:`DMAEHead`.
        block_bytes: See :class:`DMAEHead`.
        kernel: See :class:`DMAEHead`.
    """

    def __init__(
        self,
        embed_dims: int = 512,
        level: str = 'word',
        weighting: str = 'mean',
        hidden_layers: int = 0,
        evidence: float = 0.0,
        background: int = 0,
        background_tokens: int = 16,
        block_bytes: int = BLOCK_BYTES,
        kernel: str = 'torch',
    ) -> None:
        super().__init__(
            embed_dims=embed_dims,
            levels=(level,),
            weighting=weighting,
            visual_attention=0.0,
            hidden_layers=hidden_layers,
            evidence=evidence,
            background=background,
            background_tokens=background_tokens,
            block_bytes=block_bytes,
            kernel=kernel,
        )


def _check_levels(levels: str | Sequence[str]) -> tuple[str, ...]:
    levels = (levels,) if isinstance(levels, str) else tuple(levels)
    known = set(levels) <= set(LEVELS)
    if not levels or not known or len(set(levels)) < len(levels):
        raise ValueError(
            f'levels must be one or both of {LEVELS}, not {levels!r}'
        )
    return levels
