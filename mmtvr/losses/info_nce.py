"""Symmetric InfoNCE over a text-by-video similarity."""

from torch import Tensor, finfo, nn
from torch.nn.functional import logsigmoid

from mmtvr.losses.match import mean_over_queries, positive_pairs
from mmtvr.ops import wide_dtype
from mmtvr.registry import MODELS


def info_nce(
    sim: Tensor,
    match: Tensor | None = None,
    logit_scale: float | Tensor = 1.0,
) -> Tensor:
    """Mean of the cross entropies of both directions.

    Args:
        sim: Shape (B, V), rows are texts, cosine scale. Half precision is
            computed in float32.
        match: Positives, see :func:`positive_pairs`.
        logit_scale: Inverse temperature.

    Returns:
        Scalar, not negative.
    """
    positive = positive_pairs(sim, match)
    logits = sim.to(wide_dtype(sim)) * logit_scale
    rows = row_cross_entropy(logits, positive)
    columns = row_cross_entropy(logits.mT, positive.mT)
    return (rows + columns) / 2


def row_cross_entropy(logits: Tensor, positive: Tensor) -> Tensor:
    r"""Cross entropy of each row's positives against its negatives.

    With the positives P and the negatives N of a row,

    .. math:: \frac{1}{|P|} \sum_{p \in P}
        -\log \frac{e^{z_p}}{e^{z_p} + \sum_{n \in N} e^{z_n}},

    averaged over the rows that have a positive. A positive does not stand in
    the denominator of another: captions of one video would repel each other,
    and the loss could not reach 0. With one positive per row this is the
    usual softmax cross entropy. Rows count equally, however many positives
    they have.

    Args:
        logits: Shape (B, V), float32 or wider.
        positive: Shape (B, V), bool.

    Returns:
        Scalar; 0 if no row has a positive.
    """
    lowest = finfo(logits.dtype).min
    negatives = logits.masked_fill(positive, lowest)
    rest = negatives.logsumexp(1, keepdim=True)
    return mean_over_queries(-logsigmoid(logits - rest), positive)


@MODELS.register_module()
class InfoNCELoss(nn.Module):
    """Symmetric InfoNCE.

    Args:
        loss_weight: Factor of the loss. Use 0.5 in mmaction2's
            ``CLIPSimilarity``, which adds two calls, one per direction.
    """

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(
        self,
        sim: Tensor,
        match: Tensor | None = None,
        logit_scale: float | Tensor = 1.0,
    ) -> Tensor:
        """Compute :func:`info_nce`; ``match`` may be labels (B,)."""
        return self.loss_weight * info_nce(sim, match, logit_scale)
