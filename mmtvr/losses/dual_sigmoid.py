"""A sigmoid loss of its own for each part of a similarity."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmtvr.losses.sigmoid import sigmoid_contrast
from mmtvr.registry import MODELS


@MODELS.register_module()
class DualSigmoidLoss(nn.Module):
    r"""Sigmoid losses of frame and video level (arXiv:2503.19009).

    .. math:: L = \lambda_F L_F + \lambda_V L_V

    where each is :func:`~mmtvr.losses.sigmoid_contrast` of one level of
    :class:`mmtvr.VideoColBERTHead`, so that both become discriminative by
    themselves; scale and bias are shared. For any other head with ``parts``
    likewise; a plain similarity has one part.

    Args:
        bias: Initial bias. Defaults to that of SigLIP's released B/16 model,
            whose logit scale is 117.3; the paper's own start was not found.
        learnable: Whether the bias is a parameter.
        part_weights: Weight of each part; None for 1 each. The paper's
            weights were not found.
        loss_weight: Factor of the loss.
    """

    #: The retriever then passes all parts of the head, (B, P, V).
    reads_parts = True

    def __init__(
        self,
        bias: float = -12.93,
        learnable: bool = True,
        part_weights: Sequence[float] | None = None,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.tensor(bias), requires_grad=learnable)
        self.part_weights = part_weights and tuple(part_weights)
        self.loss_weight = loss_weight

    def forward(
        self,
        sim: Tensor,
        match: Tensor | None = None,
        logit_scale: float | Tensor = 1.0,
    ) -> Tensor:
        """Add the losses of all parts.

        Args:
            sim: Shape (B, P, V), P parts, or (B, V) for one; rows are texts.
            match: See :func:`~mmtvr.losses.positive_pairs`.
            logit_scale: The scale, shared by all parts.

        Raises:
            ValueError: If there are not as many parts as weights.
        """
        parts = (sim[:, None] if sim.dim() == 2 else sim).unbind(1)
        weights = self.part_weights or (1.0,) * len(parts)
        if len(weights) != len(parts):
            raise ValueError(
                f'part_weights={weights} must have a weight for each of the '
                f'{len(parts)} parts of the similarity'
            )
        losses = (
            weight * sigmoid_contrast(part, match, logit_scale, self.bias)
            for weight, part in zip(weights, parts, strict=True)
        )
        return self.loss_weight * sum(losses)
