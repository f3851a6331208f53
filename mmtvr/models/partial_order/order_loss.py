"""The partial order of matches, on captions and videos encoded again."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from mmtvr.distributed.gather import gather_rows, rows_before
from mmtvr.errors import SetupError
from mmtvr.ops import wide_dtype
from mmtvr.ops.removal import remove_frames
from mmtvr.registry import MODELS
from mmtvr.structures import TokenFeatures

#: Pairs that a head compares at a time, each with all of its block.
BLOCK = 8
NEGATIVES = ('hardest', 'same side')


def partial_order(
    full: Tensor,
    partial: Tensor,
    negative: Tensor,
    valid: Tensor,
    logit_scale: float | Tensor = 1.0,
    full_weight: float = 1.0,
    negative_weight: float = 1.0,
) -> Tensor:
    r"""Ask that full > partial > negative, softly and on the model's scale.

    .. math:: w_f\, \mathrm{softplus}(s\,(p - f)) +
        w_n\, \mathrm{softplus}(s\,(n - p)),

    the mean over the valid pairs, with s the logit scale.

    Args:
        full: Shape (N,), similarity of matched pairs.
        partial: Shape (N,), the same with one side in part.
        negative: Shape (N,), similarity of the hardest wrong pair; -inf if
            there is none, which costs nothing.
        valid: Shape (N,), bool, False for pairs without a partial version.
        logit_scale: Inverse temperature s.
        full_weight: Weight of full > partial.
        negative_weight: Weight of partial > negative.

    Returns:
        Scalar, float32 or wider; 0 without any valid pair.
    """
    dtype = wide_dtype(full, partial, negative)
    full, partial = full.to(dtype), partial.to(dtype)
    # -inf times a scale that learns would give it a gradient of NaN.
    known = negative > -torch.inf
    negative = negative.to(dtype).masked_fill(~known, 0.0)
    below = softplus(logit_scale * (partial - full))
    above = softplus(logit_scale * (negative - partial)) * known
    cost = full_weight * below + negative_weight * above
    return cost.masked_fill(~valid, 0.0).sum() / valid.sum().clamp_min(1)


def hardest_negative(sim: Tensor, match: Tensor) -> Tensor:
    """Highest similarity of each row with a wrong column, (N,), or -inf."""
    return sim.masked_fill(match, -torch.inf).amax(1)


def wrong_partners(sim: Tensor, match: Tensor, logit_scale: Tensor) -> Tensor:
    r"""Soft maximum of the wrong similarities of each row, (N,).

    .. math:: n_i = \frac{1}{s} \log \sum_{j\ \text{wrong}} e^{s\,x_{ij}},

    with which softplus(s (n - p)) of :func:`partial_order` is the cross
    entropy of p among the wrong ones. Very low, if there is none.
    """
    logits = (logit_scale * sim).to(wide_dtype(sim))
    # Not -inf: a row without any would have a gradient of NaN.
    logits = logits.masked_fill(match, torch.finfo(logits.dtype).min / 2)
    return logits.logsumexp(1) / logit_scale


def compare_pairs(
    head: nn.Module,
    text: TokenFeatures,
    video: TokenFeatures,
    block: int = BLOCK,
) -> Tensor:
    """Similarity of caption i with video i, (N,), by any head.

    The head compares small blocks and their diagonals are taken, so that cost
    and memory grow with N, not with its square.
    """
    parts = [
        head(
            text.select(slice(start, start + block)),
            video.select(slice(start, start + block)),
        ).diagonal()
        for start in range(0, len(text.mask), block)
    ]
    return torch.cat(parts)


class PartialMatches(NamedTuple):
    """N matched pairs of this process with one side in part.

    Attributes:
        side: ``'text'`` or ``'video'``, the one in part.
        pairs: Shape (N,), int64, the captions.
        removed: Shape (N, S), bool, the tokens that are gone.
        sim: Shape (N,), similarity with the partial version.
        expected_drop: Shape (N,), by how many logits the masker expects the
            match to fall; None if it does not learn.
    """

    side: str
    pairs: Tensor
    removed: Tensor
    sim: Tensor
    expected_drop: Tensor | None


@MODELS.register_module()
class PartialOrderLoss(nn.Module):
    """A match beats its partial versions, and these beat the wrong ones.

    The successor of :class:`TPMCLLoss`. Maskers choose tokens; the retriever
    encodes what is left of the caption again, and mixes what is left of the
    frames again by its temporal encoder; its head compares. This loss sees
    similarities only: for each matched pair and each side that has a masker,
    :func:`partial_order` on the scale that the model ranks with. The negative
    is the hardest video of all processes for the full caption.

    In a retriever it is the ``partial_loss``. Each step has one more text
    pass for ``share`` of the captions, and no further pass of the frame
    tower.

    Args:
        text_masker: Masker of words, a config or module; None to leave
            captions whole.
        video_masker: Masker of frames; None to leave videos whole.
        full_weight: Weight of full > partial.
        negative_weight: Weight of partial > negative.
        negatives: What a partial version has to beat. ``'hardest'``: the
            hardest video for the full caption. ``'same side'``: what it is
            compared with where matches are ranked, a partial caption with
            all captions of other videos at its own video, a partial video
            with all other videos at its caption, by a soft maximum.
        share: Share of the captions that have a partial version, drawn at
            each step, in (0, 1].
        importance_weight: Weight of the error of maskers that learn.
        loss_weight: Factor of the order terms.

    Raises:
        ValueError: If there is no masker, or the share is out of range.

    Example:
        >>> partial_loss = dict(
        ...     type='mmtvr.PartialOrderLoss',
        ...     text_masker=dict(type='mmtvr.KeyWordMasker', share=0.5))
    """

    def __init__(
        self,
        text_masker: dict | nn.Module | None = None,
        video_masker: dict | nn.Module | None = None,
        full_weight: float = 1.0,
        negative_weight: float = 1.0,
        negatives: str = 'hardest',
        share: float = 1.0,
        importance_weight: float = 1.0,
        loss_weight: float = 0.3,
    ) -> None:
        super().__init__()
        if text_masker is None and video_masker is None:
            raise ValueError(
                'PartialOrderLoss needs a text_masker or a video_masker, such '
                "as text_masker=dict(type='mmtvr.RandomMasker')"
            )
        if not 0 < share <= 1:
            raise ValueError(f'share must lie in (0, 1], got {share}')
        if negatives not in NEGATIVES:
            raise ValueError(
                f'negatives must be one of {NEGATIVES}, got {negatives!r}'
            )
        self.negatives = negatives
        self.text_masker = _build(text_masker)
        self.video_masker = _build(video_masker)
        self.full_weight = full_weight
        self.negative_weight = negative_weight
        self.share = share
        self.importance_weight = importance_weight
        self.loss_weight = loss_weight
        self._log_values: dict[str, Tensor] = {}

    def forward(
        self,
        full: Tensor,
        partial: Tensor,
        negative: Tensor,
        valid: Tensor,
        logit_scale: float | Tensor = 1.0,
    ) -> Tensor:
        """Compute :func:`partial_order` times the weight of the loss."""
        return self.loss_weight * partial_order(
            full,
            partial,
            negative,
            valid,
            logit_scale,
            self.full_weight,
            self.negative_weight,
        )

    def log_values(self) -> dict[str, Tensor]:
        """Shares of the last step, for the log only.

        For ``text`` and ``video``: ``partial_SIDE_below_full`` and
        ``partial_SIDE_above_negative``, shares of the valid pairs;
        ``partial_SIDE_removed``, of the tokens.
        """
        return self._log_values

    def partial_matches(
        self,
        model: Any,
        inputs: dict[str, Tensor],
        text: TokenFeatures,
        frames: TokenFeatures,
        video: TokenFeatures,
    ) -> list[PartialMatches]:
        """Make the partial versions of this process and compare them.

        Args:
            model: A ``TextVideoRetriever``.
            inputs: Its inputs.
            text: Features of B captions.
            frames: Frames of V videos before the temporal encoder.
            video: The same behind it.

        Raises:
            SetupError: If words or frames are to be removed behind a tower
                that has mixed them already.
        """
        if self.text_masker is not None and 'tokens' not in inputs:
            raise SetupError(
                'partial captions are encoded from their word pieces, but the '
                f'batch has only {sorted(inputs)}; train with the text tower, '
                'or set text_masker=None of mmtvr.PartialOrderLoss'
            )
        rows = inputs['video_of_text']
        pairs = self._draw_pairs(rows)
        text, video = text.select(pairs), video.select(rows[pairs])
        found = []
        if self.text_masker is not None:
            removable = model.removable_words(inputs['token_mask'][pairs])
            removed = self.text_masker(
                text.detach(), video.detach(), removable.flatten(1)
            )
            partial = model.extract_partial_text(
                inputs, removed.view_as(removable), pairs
            )
            sim = compare_pairs(model.head, partial, video)
            found.append(
                PartialMatches(
                    'text',
                    pairs,
                    removed,
                    sim,
                    _expect(self.text_masker, text, video, removed),
                )
            )
        if self.video_masker is not None:
            encoder = model.frame_encoder
            family = getattr(encoder, 'family', None)
            motion = getattr(encoder, 'motion', None)
            if getattr(family, 'video', False) or motion is not None:
                raise SetupError(
                    'the frame encoder reads frames of a video together, so a '
                    'partial video would still hold the removed ones; set '
                    'video_masker=None of mmtvr.PartialOrderLoss'
                )
            frames = frames.select(rows[pairs])
            removed = self.video_masker(
                video.detach(), text.detach(), video.mask
            )
            partial = model.mix_frames(remove_frames(frames, removed))
            sim = compare_pairs(model.head, text, partial)
            found.append(
                PartialMatches(
                    'video',
                    pairs,
                    removed,
                    sim,
                    _expect(self.video_masker, video, text, removed),
                )
            )
        return found

    def terms(
        self,
        matches: list[PartialMatches],
        rows: Tensor,
        videos: int,
        sim: Tensor,
        match: Tensor,
        logit_scale: Tensor,
    ) -> dict[str, Tensor]:
        """Compute the loss of each side over the pairs of all processes.

        Every process computes the same value, with exact gradients.

        Args:
            matches: Of this process.
            rows: Shape (B,), the row of each caption's video, on this
                process.
            videos: Number of videos of this process.
            sim: Shape (N, M), similarity of all captions and videos.
            match: Shape (N, M), bool.
            logit_scale: Scalar.
        """
        self._log_values = {}
        terms: dict[str, Tensor] = {}
        if not matches:
            return terms
        pairs = matches[0].pairs
        places = gather_rows(pairs + rows_before(rows))
        columns = gather_rows(
            rows[pairs] + rows_before(rows.new_zeros(videos))
        )
        full = sim[places, columns]
        if self.negatives == 'hardest':
            negative = hardest_negative(sim[places], match[places])
        for found in matches:
            if self.negatives == 'same side':
                scores, wrong = sim[places], match[places]
                if found.side == 'text':
                    scores, wrong = sim.T[columns], match.T[columns]
                negative = wrong_partners(scores, wrong, logit_scale)
            partial = gather_rows(found.sim)
            valid = gather_rows(found.removed.any(1))
            terms[f'loss_partial_{found.side}'] = self(
                full, partial, negative, valid, logit_scale
            )
            self._log(found, full, partial, negative, valid)
            if found.expected_drop is not None:
                drop = (logit_scale * (full - partial)).detach()
                drop = drop.to(found.expected_drop)
                error = gather_rows(found.expected_drop) - drop
                error = error.square().masked_fill(~valid, 0.0).sum()
                terms[f'loss_importance_{found.side}'] = (
                    self.importance_weight * error / valid.sum().clamp_min(1)
                )
        return terms

    def _draw_pairs(self, rows: Tensor) -> Tensor:
        count = len(rows)
        if self.share == 1:
            return torch.arange(count, device=rows.device)
        chosen = max(1, round(self.share * count))
        draw = torch.randperm(count, device=rows.device)[:chosen]
        return draw.sort().values

    def _log(
        self,
        found: PartialMatches,
        full: Tensor,
        partial: Tensor,
        negative: Tensor,
        valid: Tensor,
    ) -> None:
        count = valid.sum().clamp_min(1)
        name = f'partial_{found.side}'
        self._log_values |= {
            f'{name}_below_full': ((partial < full) & valid).sum() / count,
            f'{name}_above_negative': ((partial > negative) & valid).sum()
            / count,
            f'{name}_removed': found.removed.sum(1).float().mean(),
        }


def _build(part: dict | nn.Module | None) -> nn.Module | None:
    return MODELS.build(part) if isinstance(part, dict) else part


def _expect(
    masker: nn.Module,
    own: TokenFeatures,
    other: TokenFeatures,
    removed: Tensor,
) -> Tensor | None:
    if not hasattr(masker, 'expected_drop'):
        return None
    return masker.expected_drop(own, other, removed)
