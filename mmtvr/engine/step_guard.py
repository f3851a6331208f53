"""Look at loss and gradients before an optimiser steps."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from mmengine.dist import all_reduce, get_comm_device, get_world_size
from mmengine.optim import OptimWrapper
from torch import Tensor
from torch.nn.utils import get_total_norm

Terms = Sequence[Mapping[str, Tensor]]


class StepGuard:
    """The step of an optimiser wrapper, taken only with finite numbers.

    One number per process is compared and read back, once per step.

    Args:
        wrapper: The wrapper; its ``step`` is taken as it is now.
        terms: Gives the terms of all losses that went into the gradients.
        found: Called with what is not finite; raises, or lets the step be
            left out.
    """

    def __init__(
        self,
        wrapper: OptimWrapper,
        terms: Callable[[], Terms],
        found: Callable[[str], None],
    ) -> None:
        self.wrapper = wrapper
        self.unguarded_step = wrapper.step
        self.terms = terms
        self.found = found
        self.steps = 0
        wrapper.optimizer.register_step_post_hook(self._count)

    def step(self, **kwargs: Any) -> bool:
        """Take the step, or not.

        Args:
            **kwargs: Arguments of the step of the wrapper.

        Returns:
            Whether it was taken; a loss scaler too may leave it out.
        """
        what = self._what_is_not_finite()
        if what is not None:
            self.found(what)
            return False
        before = self.steps
        self.unguarded_step(**kwargs)
        return self.steps > before

    def scale(self) -> float | None:
        """The scale of mixed precision, None without a loss scaler."""
        scaler = getattr(self.wrapper, 'loss_scaler', None)
        return None if scaler is None else scaler.get_scale()

    def _what_is_not_finite(self) -> str | None:
        flags = torch.stack(
            [~finite_losses(self.terms()).all(), self._is_gradient_bad()]
        ).float()
        if get_world_size() > 1:
            flags = flags.to(get_comm_device())
            all_reduce(flags, 'max')
        loss, gradient = flags.tolist()
        if loss:
            return 'the loss'
        return 'the norm of the gradients' if gradient else None

    def _is_gradient_bad(self) -> Tensor:
        """Of the gradients as they are; scaled ones are the scaler's."""
        gradients = [
            parameter.grad
            for group in self.wrapper.optimizer.param_groups
            for parameter in group['params']
            if parameter.grad is not None
        ]
        device = finite_losses(self.terms()).device
        if hasattr(self.wrapper, 'loss_scaler') or not gradients:
            return torch.zeros((), dtype=torch.bool, device=device)
        return ~torch.isfinite(get_total_norm(gradients)).to(device)

    def _count(self, *arguments: Any) -> None:
        self.steps += 1


def finite_losses(terms: Terms) -> Tensor:
    """Which terms of losses are finite.

    Args:
        terms: Scalars of each batch; names with ``loss`` are terms of the
            loss, as mmengine has it.

    Returns:
        Shape (number of terms,), bool; empty if there are none.
    """
    losses = [
        value.float()
        for batch in terms
        for name, value in batch.items()
        if 'loss' in name
    ]
    if not losses:
        return torch.ones(0, dtype=torch.bool)
    return torch.isfinite(torch.stack(losses))
