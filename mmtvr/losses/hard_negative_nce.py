"""InfoNCE that weighs hard negatives more: HN-NCE."""

import math

import torch
from torch import Tensor, finfo, nn

from mmtvr.losses.match import mean_over_queries, positive_pairs
from mmtvr.ops import wide_dtype
from mmtvr.registry import MODELS


def hard_negative_nce(
    sim: Tensor,
    match: Tensor | None = None,
    logit_scale: float | Tensor = 1.0,
    alpha: float = 1.0,
    beta: float = 0.5,
) -> Tensor:
    r"""InfoNCE with importance weights on the negatives.

    With logits z, a row's positive p and its negatives N,

    .. math:: -\log \frac{e^{z_p}}
        {\alpha e^{z_p} + \sum_{n \in N} w_n e^{z_n}}, \quad
        w_n = \frac{|N| e^{\beta z_n}}{\sum_{k \in N} e^{\beta z_k}},

    averaged as in :func:`~mmtvr.losses.info_nce` and over both directions.
    The gradient flows through the weights, and all is computed in log space.
    A row without a negative costs nothing.

    Args:
        sim: Shape (B, V), rows are texts, cosine scale. Half precision is
            computed in float32.
        match: Positives, see :func:`~mmtvr.losses.positive_pairs`.
        logit_scale: Inverse temperature.
        alpha: Weight of the positive in the denominator; 0 decouples it.
        beta: How much harder negatives count more; with 0 and ``alpha=1``
            this is InfoNCE.

    Returns:
        Scalar.
    """
    positive = positive_pairs(sim, match)
    logits = sim.to(wide_dtype(sim)) * logit_scale
    rows = _one_direction(logits, positive, alpha, beta)
    columns = _one_direction(logits.mT, positive.mT, alpha, beta)
    return (rows + columns) / 2


def _one_direction(
    logits: Tensor, positive: Tensor, alpha: float, beta: float
) -> Tensor:
    # Not -inf: the gradient of a row without negatives would be NaN.
    lowest = finfo(logits.dtype).min
    count = (~positive).sum(1, keepdim=True)

    def over_negatives(factor: float) -> Tensor:
        negatives = (factor * logits).masked_fill(positive, lowest)
        return negatives.logsumexp(1, keepdim=True)

    rest = over_negatives(1 + beta) - over_negatives(beta)
    rest = rest + count.clamp_min(1).to(logits.dtype).log()
    own = logits.new_tensor(math.log(alpha) if alpha > 0 else -torch.inf)
    pair = torch.logaddexp(own, rest - logits)
    return mean_over_queries(
        pair.masked_fill(count == 0, 0.0), positive & (count > 0)
    )


@MODELS.register_module()
class HardNegativeNCELoss(nn.Module):
    """HN-NCE of DiHT (arXiv:2301.02280).

    Unlike NegNCE, which adds a term on the negatives that beat a positive,
    all negatives stay in the softmax and the harder ones weigh more.

    Args:
        alpha: Weight of the positive in the denominator.
        beta: How much harder negatives count more.
        loss_weight: Factor of the loss.

    Raises:
        ValueError: If ``alpha`` is negative.
    """

    def __init__(
        self,
        alpha: float = 1.0,
        beta: float = 0.5,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        if alpha < 0:
            raise ValueError(f'alpha must not be negative, not {alpha}')
        self.alpha = alpha
        self.beta = beta
        self.loss_weight = loss_weight

    def forward(
        self,
        sim: Tensor,
        match: Tensor | None = None,
        logit_scale: float | Tensor = 1.0,
    ) -> Tensor:
        """Compute :func:`hard_negative_nce`; ``match`` may be labels (B,)."""
        return self.loss_weight * hard_negative_nce(
            sim, match, logit_scale, self.alpha, self.beta
        )
