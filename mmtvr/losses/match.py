"""Which pairs belong together."""

import torch
from torch import Tensor


def positive_pairs(sim: Tensor, match: Tensor | None = None) -> Tensor:
    """Turn any description of the positives into a mask.

    Args:
        sim: Shape (B, V), rows are texts. Only its shape is read.
        match: None for the diagonal; a bool mask (B, V); or, as mmaction2's
            ``CLIPSimilarity`` passes them, integer labels (B,), the positive
            column of each row.

    Returns:
        Shape (B, V), bool, True where text and video belong together. Rows
        and columns may have several positives or none.

    Raises:
        ValueError: If shapes do not fit, or a label is not a column.
        TypeError: If ``match`` is neither boolean nor integer.
    """
    if sim.dim() != 2:
        raise ValueError(f'sim must be a matrix, not {tuple(sim.shape)}')
    rows, columns = sim.shape
    if match is None:
        if rows != columns:
            raise ValueError(
                'match=None means the diagonal, which needs as many texts as '
                f'videos, not {rows} x {columns}; give match'
            )
        return torch.eye(rows, dtype=torch.bool, device=sim.device)
    if match.dtype == torch.bool:
        if match.shape != sim.shape:
            raise ValueError(
                f'match {tuple(match.shape)} must have the shape of sim '
                f'{tuple(sim.shape)}'
            )
        return match
    if match.is_floating_point() or match.is_complex():
        raise TypeError(f'match must be bool or integer, not {match.dtype}')
    if match.shape != (rows,):
        raise ValueError(
            f'labels {tuple(match.shape)} must give one column for each of '
            f'{rows} rows'
        )
    column = torch.arange(columns, device=sim.device)
    positive = match[:, None] == column
    if not positive.any(1).all():
        raise ValueError(f'labels must lie in 0..{columns - 1}')
    return positive


def mean_over_queries(pair: Tensor, positive: Tensor) -> Tensor:
    """Average the costs of positive pairs, each row counting the same.

    Args:
        pair: Shape (B, V), finite cost of each pair; negatives are not read.
        positive: Shape (B, V), bool.

    Returns:
        Scalar: the mean over the rows that have positives of the mean over
        these; 0 if there are none.
    """
    row = pair.masked_fill(~positive, 0.0).sum(1)
    row = row / positive.sum(1).clamp_min(1)
    return row.sum() / positive.any(1).sum().clamp_min(1)
