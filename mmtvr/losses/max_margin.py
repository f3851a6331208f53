"""Positives above negatives by a margin, the ranking hinge."""

import torch
from torch import Tensor, nn

from mmtvr.losses.match import positive_pairs
from mmtvr.ops import wide_dtype
from mmtvr.registry import MODELS

NEGATIVES = ('all', 'hardest')


def max_margin(
    sim: Tensor,
    match: Tensor | None = None,
    margin: float = 0.2,
    negatives: str = 'all',
) -> Tensor:
    r"""Bidirectional ranking hinge.

    The cost of a positive p among the negatives N of its row is the mean, or
    for ``'hardest'`` the maximum, over N of
    :math:`\max(0, m + s_n - s_p)`. It is averaged over the positives of a
    row, over the rows, and over both directions.

    Args:
        sim: Shape (B, V), rows are texts. Half precision is computed in
            float32.
        match: Positives, see :func:`~mmtvr.losses.positive_pairs`.
        margin: The margin m, in the unit of ``sim``.
        negatives: ``'all'`` or ``'hardest'``.

    Returns:
        Scalar, not negative.

    Raises:
        ValueError: If ``negatives`` is not one of the two.
    """
    _check_negatives(negatives)
    positive = positive_pairs(sim, match)
    sim = sim.to(wide_dtype(sim))
    rows = _one_direction(sim, positive, margin, negatives)
    columns = _one_direction(sim.mT, positive.mT, margin, negatives)
    return (rows + columns) / 2


def _check_negatives(negatives: str) -> None:
    if negatives not in NEGATIVES:
        raise ValueError(
            f'negatives must be one of {NEGATIVES}, not {negatives!r}'
        )


def _one_direction(
    sim: Tensor, positive: Tensor, margin: float, negatives: str
) -> Tensor:
    row, column = positive.nonzero(as_tuple=True)
    hinge = torch.relu(margin + sim[row] - sim[row, column][:, None])
    hinge = hinge.masked_fill(positive[row], 0.0)
    if negatives == 'hardest':
        cost = hinge.max(1).values
    else:
        cost = hinge.sum(1) / (~positive[row]).sum(1).clamp_min(1)
    # Rows count equally, however many positives they have.
    share = 1 / positive.sum(1)[row]
    return (share * cost).sum() / positive.any(1).sum().clamp_min(1)


@MODELS.register_module()
class MaxMarginLoss(nn.Module):
    """Ranking hinge, over all negatives or over the hardest (VSE++).

    Args:
        margin: By how much a positive must win, in the unit of ``sim``
            (cosine).
        negatives: ``'all'`` averages over the negatives of a row, as
            Collaborative Experts (arXiv:1907.13487); ``'hardest'`` takes the
            one of largest similarity, as VSE++ (arXiv:1707.05612).
        loss_weight: Factor of the loss.

    Raises:
        ValueError: If ``negatives`` is not one of the two.
    """

    def __init__(
        self,
        margin: float = 0.2,
        negatives: str = 'all',
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        _check_negatives(negatives)
        self.margin = margin
        self.negatives = negatives
        self.loss_weight = loss_weight

    def forward(
        self,
        sim: Tensor,
        match: Tensor | None = None,
        logit_scale: float | Tensor = 1.0,
    ) -> Tensor:
        """Compute :func:`max_margin`.

        ``logit_scale`` does not enter, for the margin is one of cosines: a
        learnable scale gets the gradient 0.
        """
        loss = max_margin(sim, match, self.margin, self.negatives)
        # In the graph with factor 0: DDP waits for every parameter.
        return self.loss_weight * loss + 0.0 * logit_scale
