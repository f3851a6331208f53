"""The inverse temperature of the contrastive loss."""

import math

import torch
from torch import Tensor, nn


class LogitScale(nn.Module):
    """A positive factor, learned in log space and capped.

    Args:
        init: First value.
        learnable: Whether training changes it.
        max: Cap, applied to the parameter itself after each step, so that a
            value at the cap can still come down.

    Raises:
        ValueError: Unless 0 < init <= max.
    """

    def __init__(
        self, init: float = 100.0, learnable: bool = True, max: float = 100.0
    ) -> None:
        super().__init__()
        if not 0 < init <= max:
            raise ValueError(
                f'logit_scale needs 0 < init <= max, got init={init} and '
                f'max={max}'
            )
        self.max = max
        self.log = nn.Parameter(
            torch.tensor(math.log(init)), requires_grad=learnable
        )

    def forward(self) -> Tensor:
        """Give the factor, a scalar tensor in (0, max]."""
        with torch.no_grad():
            self.log.clamp_(max=math.log(self.max))
        return self.log.exp()
