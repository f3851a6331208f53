"""NegNCE: InfoNCE plus a term on the negatives that beat a positive."""

import torch
from torch import Tensor, finfo, nn

from mmtvr.losses.info_nce import row_cross_entropy
from mmtvr.losses.match import positive_pairs
from mmtvr.ops import wide_dtype
from mmtvr.registry import MODELS


def neg_nce(
    sim: Tensor,
    match: Tensor | None = None,
    logit_scale: float | Tensor = 1.0,
    positive_weight: float = 1.0,
    negative_weight: float = 0.5,
    margin: float = 0.0,
) -> Tensor:
    r"""NegNCE of arXiv:2309.11082, exact in log space.

    One direction, with P the softmax over each row of the logits and H the
    hard negatives of :func:`hard_negatives`:

    .. math:: L = w_+ \cdot \mathrm{CE} - w_- \frac{1}{|H|}
        \sum_{(i,j) \in H} \log(1 - P_{ij}).

    The loss is the mean of both directions. CE is
    :func:`~mmtvr.losses.info_nce.row_cross_entropy`. In
    :math:`1 - P_{ij}` all positives of the row stand on the same side, so
    this term raises each of them. Rows without a positive have no terms.

    The released code clamps P to [1e-6, 1 - 1e-6], which stops the gradient
    of the worst rows; here it does not stop. Where no clamp is active the
    two agree.

    Args:
        sim: Shape (B, V), rows are texts, cosine scale. Half precision is
            computed in float32.
        match: Positives, see :func:`positive_pairs`.
        logit_scale: Inverse temperature; the released code uses 100.
        positive_weight: The factor :math:`w_+`.
        negative_weight: The factor :math:`w_-`.
        margin: How close below a positive counts as hard, in the unit of
            ``sim``.

    Returns:
        Scalar, not negative.
    """
    positive = positive_pairs(sim, match)
    sim = sim.to(wide_dtype(sim))
    hard = hard_negatives(sim, positive, margin)
    logits = sim * logit_scale
    directions = [
        positive_weight * row_cross_entropy(z, pairs)
        + negative_weight * _row_hard_term(z, beating, pairs)
        for z, beating, pairs in (
            (logits, hard, positive),
            (logits.mT, hard.mT, positive.mT),
        )
    ]
    return (directions[0] + directions[1]) / 2


def hard_negatives(
    sim: Tensor, positive: Tensor, margin: float = 0.0
) -> Tensor:
    """Negatives that beat a positive of their row or of their column.

    A pair is hard if ``sim + margin`` is greater (not equal) than the weakest
    positive of its text or the weakest positive of its video: each positive
    pair is a training pair of its own, and a negative above it is ranked
    wrongly, whether or not another caption of the video ranks higher.

    Args:
        sim: Shape (B, V), raw similarities.
        positive: Shape (B, V), bool.
        margin: How close below a positive counts as hard.

    Returns:
        Shape (B, V), bool. The set of the transposed matrix is the transpose.
    """
    sim = sim.detach().to(wide_dtype(sim))
    positives = sim.masked_fill(~positive, torch.inf)
    raised = sim + margin
    beats_row = raised > positives.amin(1, keepdim=True)
    beats_column = raised > positives.amin(0, keepdim=True)
    return ~positive & (beats_row | beats_column)


def log_one_minus_softmax(logits: Tensor) -> Tensor:
    """Exact log(1 - softmax), also where the softmax rounds to 1.

    Only the largest entry of a row can have a probability above 1/2. For it,
    1 - P is the mass of all others, summed in log space; for the others,
    log1p(-P) is exact.

    Args:
        logits: Shape (B, V), V of 2 or more.

    Returns:
        Shape (B, V), in (-inf, 0), finite.
    """
    total = logits.logsumexp(1, keepdim=True)
    top = logits.argmax(1, keepdim=True)
    others = logits.scatter(1, top, finfo(logits.dtype).min)
    rest = others.logsumexp(1, keepdim=True)
    return torch.log1p(-(others - total).exp()).scatter(1, top, rest - total)


def _row_hard_term(logits: Tensor, hard: Tensor, positive: Tensor) -> Tensor:
    """Mean of -log(1 - P) over hard pairs; 0 if there are none."""
    hard = hard & positive.any(1, keepdim=True)
    pairs = -log_one_minus_softmax(logits).masked_fill(~hard, 0.0)
    return pairs.sum() / hard.sum().clamp_min(1)


@MODELS.register_module()
class NegNCELoss(nn.Module):
    """NegNCE (arXiv:2309.11082): contrast with a term on hard negatives.

    Args:
        positive_weight: Factor of the cross entropy.
        negative_weight: Factor of the term on hard negatives.
        margin: How close below a positive counts as hard, in the unit of
            ``sim``.
        loss_weight: Factor of the loss. Use 0.5 in mmaction2's
            ``CLIPSimilarity``, which adds two calls, one per direction.
    """

    def __init__(
        self,
        positive_weight: float = 1.0,
        negative_weight: float = 0.5,
        margin: float = 0.0,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.positive_weight = positive_weight
        self.negative_weight = negative_weight
        self.margin = margin
        self.loss_weight = loss_weight
        self._log_values: dict[str, Tensor] = {}

    def forward(
        self,
        sim: Tensor,
        match: Tensor | None = None,
        logit_scale: float | Tensor = 1.0,
    ) -> Tensor:
        """Compute :func:`neg_nce`; ``match`` may be labels (B,)."""
        hard = hard_negatives(sim, positive_pairs(sim, match), self.margin)
        per_row = hard.sum() / max(1, len(hard))
        self._log_values = {'hard_negatives_per_row': per_row}
        return self.loss_weight * neg_nce(
            sim,
            match,
            logit_scale,
            self.positive_weight,
            self.negative_weight,
            self.margin,
        )

    def log_values(self) -> dict[str, Tensor]:
        """Mean number of hard negatives of a text in the last forward."""
        return self._log_values
