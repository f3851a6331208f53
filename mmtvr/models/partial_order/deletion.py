"""Does an importance name the tokens that carry a match? Delete and see."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mmtvr.models.partial_order.importance import CosineImportance
from mmtvr.models.partial_order.maskers import (
    ImportanceMasker,
    remove_highest,
    share_of,
)
from mmtvr.models.partial_order.order_loss import compare_pairs
from mmtvr.ops.removal import remove_frames
from mmtvr.structures import TokenFeatures

METHODS = ('learned', 'cosine', 'gradient', 'leave-one-out')


class DeletionProbe:
    """Matched pairs of one batch whose words or frames can be deleted.

    Everything is deleted from what goes into the encoder or the temporal
    module, and encoded again.

    Args:
        model: A ``TextVideoRetriever`` in evaluation mode.
        inputs: Its inputs.
        side: ``'text'`` to delete words, ``'video'`` to delete frames.
    """

    def __init__(
        self, model: Any, inputs: dict[str, Tensor], side: str = 'text'
    ) -> None:
        self.model, self.inputs, self.side = model, inputs, side
        rows = inputs['video_of_text']
        with torch.no_grad():
            self.text = model.extract_text(inputs)
            frames = model.extract_frames(inputs)
            self.video = model.mix_frames(frames).select(rows)
            self.frames = frames.select(rows)
            self.full = compare_pairs(model.head, self.text, self.video)
        if side == 'text':
            words = model.removable_words(inputs['token_mask'])
            self.removable = words.flatten(1)
        else:
            self.removable = self.video.mask

    @torch.no_grad()
    def drop(self, removed: Tensor) -> Tensor:
        """By how many logits each match falls.

        Args:
            removed: Shape (B, S), bool.

        Returns:
            Shape (B,).
        """
        model = self.model
        if self.side == 'text':
            pairs = torch.arange(len(removed), device=removed.device)
            mask = self.inputs['token_mask']
            text = model.extract_partial_text(
                self.inputs, removed.view_as(mask), pairs
            )
            partial = compare_pairs(model.head, text, self.video)
        else:
            video = model.mix_frames(remove_frames(self.frames, removed))
            partial = compare_pairs(model.head, self.text, video)
        return model.logit_scale() * (self.full - partial)

    def importance(self, method: str) -> Tensor | None:
        """Rate the tokens, (B, S), by one of :data:`METHODS`.

        ``'learned'`` is the predictor of the model's own masker, and None if
        it has none. ``'gradient'`` is gradient times token behind the
        encoder. ``'leave-one-out'`` deletes each token by itself, which takes
        S passes.

        Raises:
            ValueError: If the method is unknown.
        """
        own, other = self.text, self.video
        if self.side == 'video':
            own, other = other, own
        if method == 'learned':
            loss = self.model.partial_loss
            masker = getattr(loss, f'{self.side}_masker', None)
            if not isinstance(masker, ImportanceMasker) or not masker.learns:
                return None
            with torch.no_grad():
                return masker.weigh(own, other)
        if method == 'cosine':
            return CosineImportance()(
                own.tokens, own.mask, other.tokens, other.mask
            )
        if method == 'gradient':
            return self._gradient(own)
        if method == 'leave-one-out':
            place = torch.arange(self.removable.shape[1])
            place = place.to(self.removable.device)
            drops = [
                self.drop(self.removable & (place == one)) for one in place
            ]
            return torch.stack(drops, 1)
        raise ValueError(f'method must be one of {METHODS}, not {method!r}')

    def _gradient(self, own: TokenFeatures) -> Tensor:
        tokens = own.tokens.detach().requires_grad_()
        own = own._replace(tokens=tokens)
        pair = (own, self.video) if self.side == 'text' else (self.text, own)
        with torch.enable_grad():
            total = compare_pairs(self.model.head, *pair).sum()
        (gradient,) = torch.autograd.grad(total, tokens, allow_unused=True)
        if gradient is None:
            return torch.zeros_like(tokens[..., 0])
        return (gradient * tokens.detach()).sum(2)


def deletion_gaps(
    probe: DeletionProbe,
    methods: Sequence[str] = METHODS,
    share: float = 0.3,
    draws: int = 3,
) -> dict[str, Tensor]:
    """By how much more a choice hurts the match than a random one.

    Args:
        probe: The pairs.
        methods: Which importances to try.
        share: Share of the tokens to delete.
        draws: Random deletions to average over.

    Returns:
        Per method, of the pairs with something to delete, (n,): the drop by
        the most important tokens less the mean drop by as many random ones,
        in logits. ``'random'`` is that mean drop itself. Methods that the
        model does not have are left out.
    """
    count = share_of(probe.removable, share)
    chance = [
        probe.drop(
            remove_highest(
                torch.rand(
                    probe.removable.shape, device=probe.removable.device
                ),
                probe.removable,
                count,
            )
        )
        for _ in range(draws)
    ]
    random = torch.stack(chance).mean(0)
    some = count > 0
    gaps = {'random': random[some]}
    for method in methods:
        rating = probe.importance(method)
        if rating is not None:
            removed = remove_highest(rating, probe.removable, count)
            gaps[method] = (probe.drop(removed) - random)[some]
    return gaps
