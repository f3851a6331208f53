"""Which tokens a partial caption or video keeps."""

from typing import NamedTuple

import torch
from torch import Tensor

TOLERANCE = 1e-6
"""Cumulated importance this close to the mass counts as having reached it.

Importance is float32: eighteen times 1/30 must reach 0.6 on every machine.
"""


class Selection(NamedTuple):
    """How much the tokens of B matched pairs matter, and which ones stay.

    Attributes:
        importance: Shape (B, S), not negative, 0 at padding, sum 1.
        keep: Shape (B, S), bool, True at real tokens that stay.
    """

    importance: Tensor
    keep: Tensor


@torch.no_grad()
def keep_less_important(
    importance: Tensor, mask: Tensor, mass: float, min_removed: int = 0
) -> Tensor:
    """Drop the most important tokens, as many as stay below a mass.

    Tokens are taken by falling importance (equal ones in their order) as long
    as their cumulated importance is below ``mass``. The one that reaches it
    and all after it stay, so a token that holds the mass alone is not dropped
    (as released) unless ``min_removed`` asks for it. At least one real token
    always stays. The choice has no gradient.

    Args:
        importance: Shape (B, S), not negative, sum 1 over the real tokens.
        mask: Shape (B, S), bool, True at real tokens.
        mass: Share of the importance to remove, in (0, 1].
        min_removed: Tokens to drop whatever they weigh.

    Returns:
        Shape (B, S), bool, True at real tokens that stay.
    """
    ranked = importance.double().masked_fill(~mask, -1.0)
    ranked, order = ranked.sort(dim=1, descending=True, stable=True)
    cumulated = ranked.clamp_min(0.0).cumsum(1)
    position = torch.arange(mask.shape[1], device=mask.device)
    last = mask.sum(1, keepdim=True) - 1
    dropped = (cumulated < mass - TOLERANCE) | (position < min_removed)
    dropped &= position < last
    return mask & ~torch.zeros_like(mask).scatter(1, order, dropped)
