"""Triplet Partial Margin Contrastive Learning: the loss and its triplets."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from mmtvr.models.partial_order.importance import (
    CosineImportance,
    ImportancePredictor,
)
from mmtvr.ops import autocast_off, full_precision
from mmtvr.registry import MODELS
from mmtvr.structures import TokenFeatures

TRIPLETS = ('frames', 'word_global_frames', 'words', 'frame_global')
OF_FRAMES = {'frames', 'word_global_frames', 'frame_global'}
OF_WORDS = {'word_global_frames', 'words'}
#: Cumulated importance this close to the mass counts as having reached it:
#: in float32, eighteen times 1/30 must reach 0.6 on every machine.
TOLERANCE = 1e-6


class Selection(NamedTuple):
    """How much the tokens of B matched pairs matter, and which ones stay.

    Attributes:
        importance: Shape (B, S), not negative, 0 at padding, sum 1.
        keep: Shape (B, S), bool, True at real tokens that stay.
    """

    importance: Tensor
    keep: Tensor


class PartialPairs(NamedTuple):
    """B matched pairs. A prime is a version without its telling tokens.

    Attributes:
        sentence: t, shape (B, D), unit vectors.
        frames: v, shape (B, T, D), unit vectors.
        frame_mask: Shape (B, T), bool, True at real frames.
        kept_frames: Shape (B, T), bool, the frames that stay in v'; the
            others are zero vectors.
        frame_globals: vg and vg', each (B, D), unit vectors.
        word_globals: tg and tg', each (B, D), unit vectors.
    """

    sentence: Tensor
    frames: Tensor
    frame_mask: Tensor
    kept_frames: Tensor | None = None
    frame_globals: tuple[Tensor, Tensor] | None = None
    word_globals: tuple[Tensor, Tensor] | None = None


@MODELS.register_module()
class TPMCLLoss(nn.Module):
    """TPM-CL (arXiv:2309.11082): a pair beats its own partial versions.

    For each matched pair the most important frames and words, as predicted
    from the other side, are removed, and each triplet asks the full version
    to be more similar than the partial one by a margin. The loss is the sum
    over the triplets of the hinge's mean over the pairs. It looks at matched
    pairs only and never at other rows, so nothing is to be gathered.

    A predictor exists only if a triplet needs it. The frame predictor learns
    through ``'frame_global'`` alone, because the choice of frames has no
    gradient; without that triplet it stays as initialised, as in the released
    code, and its parameters are frozen. ``log_values`` names the share of
    margins that still pull.

    Args:
        embed_dims: Width D of the features.
        max_words: Largest number of words, that of ``TokenizeText``.
        max_frames: Largest number of frames, that of ``LoadVideoFrames``.
        triplets: Which to use, see
            :func:`triplet_similarities`. The first three are the released
            ones.
        margin: By how much the full version must win, in cosine. The
            released 0.6 is above most cosines of CLIP, so that every margin
            stays active; 0.1 to 0.2 is worth a trial.
        mass: Share of the importance to remove, in (0, 1].
        min_removed: Frames and words to remove whatever they weigh. With the
            released 0 a token that holds the mass alone stays, the partial
            version equals the full one, and the pair has no gradient:
            importance that is learned well ends there. 1 keeps such pairs
            alive.
        importance: ``'predicted'`` by a network that learns with the loss,
            as released, or ``'cosine'``, the similarity of a token with the
            other side, see :class:`CosineImportance`.
        loss_weight: Factor of the loss.

    Raises:
        ValueError: If a triplet or the importance is unknown, or the mass is
            out of range.
    """

    def __init__(
        self,
        embed_dims: int = 512,
        max_words: int = 32,
        max_frames: int = 12,
        triplets: Sequence[str] = TRIPLETS,
        margin: float = 0.6,
        mass: float = 0.6,
        min_removed: int = 0,
        importance: str = 'predicted',
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.triplets = tuple(dict.fromkeys(triplets))
        if not self.triplets or set(self.triplets) - set(TRIPLETS):
            raise ValueError(
                f'triplets must be among {TRIPLETS}, not {triplets!r}'
            )
        if not 0 < mass <= 1:
            raise ValueError(f'mass must lie in (0, 1], not {mass}')
        self.margin = margin
        self.mass = mass
        self.min_removed = min_removed
        self.loss_weight = loss_weight
        self.frame_importance = self.word_importance = None
        if OF_FRAMES & set(self.triplets):
            self.frame_importance = _build_importance(
                importance, embed_dims, max_keys=max_frames, max_queries=1
            )
            self.frame_importance.requires_grad_(
                'frame_global' in self.triplets
            )
        if OF_WORDS & set(self.triplets):
            self.word_importance = _build_importance(
                importance,
                embed_dims,
                max_keys=max_words,
                max_queries=max_frames,
            )
        self._log_values: dict[str, Tensor] = {}

    def forward(self, text: TokenFeatures, video: TokenFeatures) -> Tensor:
        """Compute the loss of B pairs: row i is the video of caption i.

        Returns:
            Scalar, at least 0, float32 or wider.

        Raises:
            ValueError: If there are not as many captions as videos.
            SetupError: If there are more words or frames than configured.
        """
        if len(text.pooled) != len(video.pooled):
            raise ValueError(
                'row i of both sides must be a pair, but there are '
                f'{len(text.pooled)} captions and {len(video.pooled)} videos'
            )
        with autocast_off(text.tokens):
            text, video = full_precision(text, video)
            self._log_values = {}
            pairs = self.partial_pairs(text, video)
            terms = [self._hinge(name, pairs) for name in self.triplets]
            return self.loss_weight * torch.stack(terms).sum()

    def partial_pairs(
        self, text: TokenFeatures, video: TokenFeatures
    ) -> PartialPairs:
        """Make the partial versions of matched pairs that triplets compare."""
        text, video = _without_padding(text), _without_padding(video)
        pairs = PartialPairs(text.pooled, video.tokens, video.mask)
        selections = self._select(text, video)
        for side, features in (('frames', video), ('words', text)):
            if side in selections:
                keep = selections[side].keep
                removed = (features.mask & ~keep).sum()
                real = features.mask.sum().clamp_min(1)
                self._log_values[f'removed_{side}'] = removed / real
        if 'frames' in selections:
            importance, keep = selections['frames']
            pairs = pairs._replace(
                kept_frames=keep,
                frame_globals=importance_globals(
                    video.tokens, importance, keep
                ),
            )
        if 'words' in selections:
            pairs = pairs._replace(
                word_globals=importance_globals(
                    text.tokens, *selections['words']
                )
            )
        return pairs

    def select(
        self, text: TokenFeatures, video: TokenFeatures
    ) -> dict[str, Selection]:
        """Weigh the tokens of matched pairs and choose which ones stay.

        ``'frames'`` and ``'words'``, each if a triplet removes some.
        """
        return self._select(_without_padding(text), _without_padding(video))

    def _select(
        self, text: TokenFeatures, video: TokenFeatures
    ) -> dict[str, Selection]:
        selections = {}
        if self.frame_importance is not None:
            one = video.mask.new_ones(len(video.mask), 1)
            importance = self.frame_importance(
                video.tokens, video.mask, text.pooled[:, None], one
            )
            selections['frames'] = self._choose(importance, video.mask)
        if self.word_importance is not None:
            importance = self.word_importance(
                text.tokens, text.mask, video.tokens, video.mask
            )
            selections['words'] = self._choose(importance, text.mask)
        return selections

    def log_values(self) -> dict[str, Tensor]:
        """Scalars in [0, 1] of the last forward pass, for the log only.

        Per triplet ``active_<triplet>``, the share of pairs within the
        margin; ``removed_frames`` and ``removed_words``, the share of real
        tokens that the partial versions lack.
        """
        return self._log_values

    def _choose(self, importance: Tensor, mask: Tensor) -> Selection:
        keep = keep_less_important(
            importance, mask, self.mass, self.min_removed
        )
        return Selection(importance, keep)

    def _hinge(self, name: str, pairs: PartialPairs) -> Tensor:
        full, partial = triplet_similarities(name, pairs)
        violation = torch.relu(self.margin - (full - partial))
        pairs_or_one = max(1, len(violation))
        active = (violation.detach() > 0).sum() / pairs_or_one
        self._log_values[f'active_{name}'] = active
        return violation.sum() / pairs_or_one


def _without_padding(features: TokenFeatures) -> TokenFeatures:
    """With zero vectors at padding."""
    padding = ~features.mask[..., None]
    return features._replace(tokens=features.tokens.masked_fill(padding, 0.0))


def _build_importance(kind: str, embed_dims: int, **sizes: int) -> nn.Module:
    if kind == 'predicted':
        return ImportancePredictor(embed_dims, **sizes)
    if kind == 'cosine':
        return CosineImportance()
    raise ValueError(
        f"importance must be 'predicted' or 'cosine', not {kind!r}"
    )


def triplet_similarities(
    name: str, pairs: PartialPairs
) -> tuple[Tensor, Tensor]:
    """Similarities of the full and of the partial version of each pair.

    Args:
        name: ``'frames'`` for (t, v) and (t, v'); ``'word_global_frames'``
            for (tg, v) and (tg, v'); ``'words'`` for (tg, v) and (tg', v);
            ``'frame_global'`` for (t, vg) and (t, vg').
        pairs: The pairs, with the parts that this triplet compares.

    Returns:
        Two tensors of shape (B,). The first should be the larger one.

    Raises:
        ValueError: If there is no such triplet.
    """

    def with_video(vector: Tensor) -> Tensor:
        return pair_similarity(vector, pairs.frames, pairs.frame_mask)

    def with_both_videos(vector: Tensor) -> tuple[Tensor, Tensor]:
        cosine = _cosines(vector, pairs.frames)
        partial = cosine * pairs.kept_frames
        return (
            _pool(cosine, pairs.frame_mask),
            _pool(partial, pairs.frame_mask),
        )

    if name == 'frames':
        return with_both_videos(pairs.sentence)
    if name == 'word_global_frames':
        return with_both_videos(pairs.word_globals[0])
    if name == 'words':
        full, partial = pairs.word_globals
        return with_video(full), with_video(partial)
    if name == 'frame_global':
        full, partial = pairs.frame_globals
        text = pairs.sentence
        return (text * full).sum(-1), (text * partial).sum(-1)
    raise ValueError(f'triplets must be among {TRIPLETS}, not {name!r}')


def pair_similarity(vectors: Tensor, frames: Tensor, mask: Tensor) -> Tensor:
    """Token-wise similarity of one vector with the frames of its own video.

    The mean of the largest and of the average cosine. The removed frames of
    a partial video are zero vectors and count in both, as in the released
    code.

    Args:
        vectors: Shape (B, D), unit vectors.
        frames: Shape (B, T, D), unit vectors, or 0 where a frame is removed.
        mask: Shape (B, T), bool, True at real frames, removed ones included.

    Returns:
        Shape (B,), in [-1, 1]; 0 for a video without any real frame.
    """
    return _pool(_cosines(vectors, frames), mask)


def _cosines(vectors: Tensor, frames: Tensor) -> Tensor:
    return (frames @ vectors[..., None]).squeeze(-1)


def _pool(cosine: Tensor, mask: Tensor) -> Tensor:
    best = cosine.masked_fill(~mask, -torch.inf).max(1).values
    best = best.masked_fill(~mask.any(1), 0.0)
    mean = cosine.masked_fill(~mask, 0.0).sum(1) / mask.sum(1).clamp_min(1)
    return (best + mean) / 2


def importance_globals(
    tokens: Tensor, importance: Tensor, keep: Tensor
) -> tuple[Tensor, Tensor]:
    """Pool all tokens, and the kept ones, by importance.

    The released code leaves the second vector unnormalised, which turns the
    margin into a difference of norms.

    Args:
        tokens: Shape (B, S, D), 0 at padding.
        importance: Shape (B, S), 0 at padding.
        keep: Shape (B, S), bool, True at tokens that stay.

    Returns:
        Two tensors of shape (B, D), unit vectors.
    """
    weights = torch.stack([importance, importance * keep], 1)
    full, partial = (weights @ tokens).unbind(1)
    return normalize(full, dim=1), normalize(partial, dim=1)


@torch.no_grad()
def keep_less_important(
    importance: Tensor, mask: Tensor, mass: float, min_removed: int = 0
) -> Tensor:
    """Drop the most important tokens, as many as stay below a mass.

    Tokens are taken by falling importance (equal ones in their order) as long
    as their cumulated importance is below ``mass``. The one that reaches it
    and all after it stay, so a token that holds the mass alone is not dropped
    (as released) unless ``min_removed`` asks for it. At least one real token
    always stays. The choice has no gradient.

    Args:
        importance: Shape (B, S), not negative, sum 1 over the real tokens.
        mask: Shape (B, S), bool, True at real tokens.
        mass: Share of the importance to remove, in (0, 1].
        min_removed: Tokens to drop whatever they weigh.

    Returns:
        Shape (B, S), bool, True at real tokens that stay.
    """
    ranked = importance.double().masked_fill(~mask, -1.0)
    ranked, order = ranked.sort(dim=1, descending=True, stable=True)
    cumulated = ranked.clamp_min(0.0).cumsum(1)
    position = torch.arange(mask.shape[1], device=mask.device)
    last = mask.sum(1, keepdim=True) - 1
    dropped = (cumulated < mass - TOLERANCE) | (position < min_removed)
    dropped &= position < last
    return mask & ~torch.zeros_like(mask).scatter(1, order, dropped)
