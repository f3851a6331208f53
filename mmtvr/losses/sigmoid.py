"""Each pair a yes-or-no question: SigLIP's loss."""

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from mmtvr.losses.match import positive_pairs
from mmtvr.ops import wide_dtype
from mmtvr.registry import MODELS


def sigmoid_contrast(
    sim: Tensor,
    match: Tensor | None = None,
    logit_scale: float | Tensor = 1.0,
    bias: float | Tensor = 0.0,
) -> Tensor:
    r"""Sum of the binary cross entropies of all pairs, per text.

    .. math:: -\frac1B \sum_{ij} \log \sigma(y_{ij} (c\, s_{ij} + b)), \quad
        y_{ij} = \pm 1

    Pairs do not compete (no softmax), so that several captions of one video
    need no special case.

    Args:
        sim: Shape (B, V), rows are texts, cosine scale. Half precision is
            computed in float32.
        match: Positives, see :func:`~mmtvr.losses.positive_pairs`.
        logit_scale: The scale c.
        bias: The bias b.

    Returns:
        Scalar, not negative.
    """
    positive = positive_pairs(sim, match)
    logits = sim.to(wide_dtype(sim)) * logit_scale + bias
    signed = torch.where(positive, logits, -logits)
    return -logsigmoid(signed).sum() / max(1, len(sim))


@MODELS.register_module()
class SigmoidLoss(nn.Module):
    """Sigmoid contrast of SigLIP (arXiv:2303.15343).

    The negatives outnumber the positives, so the bias starts far below 0.
    SigLIP starts with a logit scale of 10: set
    ``logit_scale=dict(init=10.)`` in the model.

    Args:
        bias: Initial bias.
        learnable: Whether the bias is a parameter.
        loss_weight: Factor of the loss.
    """

    def __init__(
        self,
        bias: float = -10.0,
        learnable: bool = True,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.tensor(bias), requires_grad=learnable)
        self.loss_weight = loss_weight

    def forward(
        self,
        sim: Tensor,
        match: Tensor | None = None,
        logit_scale: float | Tensor = 1.0,
    ) -> Tensor:
        """Compute :func:`sigmoid_contrast`; ``match`` may be labels (B,)."""
        loss = sigmoid_contrast(sim, match, logit_scale, self.bias)
        return self.loss_weight * loss
