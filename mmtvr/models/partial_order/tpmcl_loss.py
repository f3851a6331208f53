"""Triplet Partial Margin Contrastive Learning."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmtvr.models.partial_order.importance import (
    CosineImportance,
    ImportancePredictor,
)
from mmtvr.models.partial_order.triplets import (
    TRIPLETS,
    PartialPairs,
    Selection,
    importance_globals,
    keep_less_important,
    triplet_similarities,
)
from mmtvr.ops import autocast_off, full_precision
from mmtvr.registry import MODELS
from mmtvr.structures import TokenFeatures

OF_FRAMES = {'frames', 'word_global_frames', 'frame_global'}
OF_WORDS = {'word_global_frames', 'words'}


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
            :func:`~mmtvr.models.partial_order.triplet_similarities`. The
            first three are the released ones.
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
        """Compute the loss of B matched pairs.

        Args:
            text: B captions.
            video: B videos, row i is the video of caption i.

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
        """Make the partial versions of matched pairs.

        Args:
            text: B captions.
            video: B videos, row i is the video of caption i.

        Returns:
            The pairs with the parts that the triplets compare.
        """
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

        Args:
            text: B captions.
            video: B videos, row i is the video of caption i.

        Returns:
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
        """Give figures of the last forward pass, for the log only.

        Returns:
            Scalars in [0, 1]: per triplet ``active_<triplet>``, the share of
            pairs within the margin; ``removed_frames`` and ``removed_words``,
            the share of real tokens that the partial versions lack.
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
