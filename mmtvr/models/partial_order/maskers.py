"""Which tokens of a caption or video its partial version lacks."""

import torch
from torch import Tensor, finfo, nn
from torch.nn.functional import gelu

from mmtvr.models.partial_order.importance import CosineImportance
from mmtvr.ops import autocast_off, full_precision
from mmtvr.registry import MODELS
from mmtvr.structures import TokenFeatures


class TokenMasker(nn.Module):
    """Chooses tokens by a rating of them; the base of all maskers.

    A masker only chooses. What stays is encoded again by the retriever, so
    that nothing of the removed tokens is left in the others.

    Args:
        share: Share of the removable tokens of a caption or video to remove,
            in (0, 1), rounded. At least one goes, if there are two, and one
            stays.

    Raises:
        ValueError: If the share is out of range.
    """

    def __init__(self, share: float = 0.3) -> None:
        super().__init__()
        if not 0 < share < 1:
            raise ValueError(f'share must lie in (0, 1), got {share}')
        self.share = share

    def forward(
        self, own: TokenFeatures, other: TokenFeatures, removable: Tensor
    ) -> Tensor:
        """Choose what goes from N captions, or from N videos.

        Args:
            own: The side that loses tokens, N rows of S tokens.
            other: Row i is what row i is matched with.
            removable: Shape (N, S), bool. False at padding and at special
                tokens.

        Returns:
            Shape (N, S), bool, True at tokens that go. A row without any has
            no partial version. No gradient.
        """
        with torch.no_grad():
            return remove_highest(
                self.rate(own, other, removable),
                removable,
                self.count(own, removable),
            )

    def rate(
        self, own: TokenFeatures, other: TokenFeatures, removable: Tensor
    ) -> Tensor:
        """Rate tokens, (N, S): the highest ones go."""
        raise NotImplementedError

    def count(self, own: TokenFeatures, removable: Tensor) -> Tensor:
        """How many tokens of each row to remove, (N,)."""
        del own
        return share_of(removable, self.share)


def share_of(removable: Tensor, share: float) -> Tensor:
    """Count what to remove of each row (N, S), leaving one; shape (N,)."""
    tokens = removable.sum(1)
    wanted = (tokens * share).round().long().clamp_min(1)
    return torch.minimum(wanted, (tokens - 1).clamp_min(0))


def remove_highest(rating: Tensor, removable: Tensor, count: Tensor) -> Tensor:
    """Mark the ``count`` (N,) removable tokens of each row rated highest."""
    rating = rating.masked_fill(~removable, -torch.inf)
    order = rating.argsort(dim=1, descending=True, stable=True)
    rank = order.argsort(dim=1)
    return (rank < count[:, None]) & removable


@MODELS.register_module()
class RandomMasker(TokenMasker):
    """Remove tokens at random: the control of all other maskers.

    Args:
        share: See :class:`TokenMasker`.
    """

    def rate(
        self, own: TokenFeatures, other: TokenFeatures, removable: Tensor
    ) -> Tensor:
        """Draw a rating."""
        return torch.rand(removable.shape, device=removable.device)


@MODELS.register_module()
class SpanMasker(TokenMasker):
    """Remove neighbouring tokens: a run of words, or of frames.

    Args:
        share: See :class:`TokenMasker`.
    """

    def rate(
        self, own: TokenFeatures, other: TokenFeatures, removable: Tensor
    ) -> Tensor:
        """Rate tokens by the distance to a place that is drawn."""
        count = self.count(own, removable)
        free = removable.sum(1) - count + 1
        draw = torch.rand(len(free), device=removable.device)
        start = (draw * free).long()
        place = removable.cumsum(1) - 1 - start[:, None]
        inside = (place >= 0) & (place < count[:, None])
        return inside.float()


@MODELS.register_module()
class KeyWordMasker(TokenMasker):
    """Remove key words, drawn at random, and nothing else.

    Key words are the tokens whose weight exceeds 1 (``TagKeyWords``). A
    caption without one has no partial version.

    Args:
        share: Share of the key words, else as in :class:`TokenMasker`; one
            may be the only key word, as long as another token stays.
    """

    def rate(
        self, own: TokenFeatures, other: TokenFeatures, removable: Tensor
    ) -> Tensor:
        """Draw a rating, that of key words above all others."""
        draw = torch.rand(removable.shape, device=removable.device)
        return draw + self._key(own, removable)

    def count(self, own: TokenFeatures, removable: Tensor) -> Tensor:
        """A share of the key words, at least one if there are any."""
        key = self._key(own, removable).sum(1)
        wanted = torch.maximum(
            (key * self.share).round().long(), key.clamp(max=1)
        )
        return torch.minimum(wanted, (removable.sum(1) - 1).clamp_min(0))

    @staticmethod
    def _key(own: TokenFeatures, removable: Tensor) -> Tensor:
        if own.weight is None:
            return torch.zeros_like(removable)
        return removable & (own.weight > 1)


class MatchImportance(nn.Module):
    r"""Predicts by how many logits a match falls when a token goes.

    Each token x of one side sees the other side through the mean y of its
    tokens, weighted by :math:`\mathrm{softmax}(10 \cos)`, and a network of
    two layers gives a number for ``[x, y, x * y]``. Tokens are rated alike
    wherever they stand. What it learns from is measured: see
    :class:`ImportanceMasker`. Features enter detached.

    Args:
        embed_dims: Width D of the tokens.
        hidden_dims: Width of the hidden layer.
    """

    def __init__(self, embed_dims: int, hidden_dims: int = 64) -> None:
        super().__init__()
        self.hidden = nn.Linear(3 * embed_dims + 1, hidden_dims)
        self.out = nn.Linear(hidden_dims, 1)

    def forward(
        self,
        keys: Tensor,
        key_mask: Tensor,
        queries: Tensor,
        query_mask: Tensor,
    ) -> Tensor:
        """Rate the key tokens (N, S, D) of each pair, (N, S), 0 at padding."""
        keys = keys.masked_fill(~key_mask[..., None], 0.0)
        queries = queries.masked_fill(~query_mask[..., None], 0.0)
        cosine = keys @ queries.mT
        cosine = cosine.masked_fill(
            ~query_mask[:, None], finfo(cosine.dtype).min
        )
        seen = (10 * cosine).softmax(2) @ queries
        best = cosine.amax(2, keepdim=True).clamp_min(-1)
        # Coordinates of unit vectors are small, and would be learned slowly.
        root = keys.shape[2] ** 0.5
        inputs = torch.cat(
            [root * keys, root * seen, root**2 * keys * seen, 10 * best], 2
        )
        rating = self.out(gelu(self.hidden(inputs))).squeeze(2)
        return rating.masked_fill(~key_mask, 0.0)


@MODELS.register_module()
class ImportanceMasker(TokenMasker):
    """Remove the tokens that carry the match.

    ``'learned'`` importance is distilled from what removal really costs. The
    partial version of each pair is encoded and compared anyway; the sum of
    the importance of its removed tokens is to equal the similarity that the
    pair lost (an additive surrogate, as in FastSHAP, arXiv:2107.07436), by a
    squared error. A share of the pairs loses random tokens, so that the
    predictor does not only see what it chose itself. All is in logits.

    Args:
        share: See :class:`TokenMasker`.
        importance: ``'learned'``, or ``'cosine'`` for the best cosine with
            the other side, :class:`CosineImportance`.
        embed_dims: Width D of the tokens.
        explore: Share of the pairs that lose random tokens in training, with
            ``'learned'``.

    Raises:
        ValueError: If the importance is unknown.
    """

    def __init__(
        self,
        share: float = 0.3,
        importance: str = 'learned',
        embed_dims: int = 512,
        explore: float = 0.25,
    ) -> None:
        super().__init__(share)
        if importance not in ('learned', 'cosine'):
            raise ValueError(
                f"importance must be 'learned' or 'cosine', not {importance!r}"
            )
        self.explore = explore
        self.learns = importance == 'learned'
        self.importance = (
            MatchImportance(embed_dims) if self.learns else CosineImportance()
        )

    def rate(
        self, own: TokenFeatures, other: TokenFeatures, removable: Tensor
    ) -> Tensor:
        """Importance, or chance for the pairs that explore."""
        rating = self.weigh(own, other)
        if not (self.training and self.learns and self.explore):
            return rating
        chance = torch.rand(removable.shape, device=removable.device)
        random = torch.rand(len(chance), 1, device=chance.device)
        return torch.where(random < self.explore, chance.to(rating), rating)

    def weigh(self, own: TokenFeatures, other: TokenFeatures) -> Tensor:
        """Importance of each token, (N, S). Features enter detached."""
        with autocast_off(own.tokens):
            own, other = full_precision(own.detach(), other.detach())
            # float64 features, as in tests of gradients.
            dtype = next(
                (p.dtype for p in self.importance.parameters()),
                own.tokens.dtype,
            )
            return self.importance(
                own.tokens.to(dtype),
                own.mask,
                other.tokens.to(dtype),
                other.mask,
            )

    def expected_drop(
        self, own: TokenFeatures, other: TokenFeatures, removed: Tensor
    ) -> Tensor | None:
        """Predict by how many logits a match falls, (N,), if it learns."""
        if not self.learns:
            return None
        return (self.weigh(own, other) * removed).sum(1)
