"""Measures that look at all right answers of a query: mAP and NDCG.

Recall asks for the best right answer alone. With many right answers per query,
as from a video to its captions, these tell how well all of them are ranked.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mmtvr.evaluation.ranking import (
    TIE_POLICIES,
    TiePolicy,
    check_finite,
)


class SortedTable(NamedTuple):
    """Q queries over N items in falling order of score.

    An item stands in a group of items with its score. ``place`` counts items
    from 1 over the whole list, ``inside`` within the group.

    Attributes:
        place: Shape (N,), float64.
        inside: Shape (Q, N), float64.
        size: Shape (Q, N), items of the group.
        right: Shape (Q, N), right answers of the group.
        right_before: Shape (Q, N), right answers before the group.
        right_total: Shape (Q,), right answers of the query.
    """

    place: Tensor
    inside: Tensor
    size: Tensor
    right: Tensor
    right_before: Tensor
    right_total: Tensor


def sort_table(scores: Tensor, match: Tensor) -> SortedTable:
    """Sort the items of each query.

    Args:
        scores: Shape (Q, N), floating point, finite. Higher is better.
        match: Shape (Q, N), bool, True where the item answers the query.

    Returns:
        The sorted table.
    """
    values, order = scores.sort(dim=1, descending=True)
    hit = match.gather(1, order).double()
    count = values.shape[1]
    index = torch.arange(count, device=values.device)
    changes = values[:, 1:] != values[:, :-1]
    edge = changes.new_ones(len(values), 1)
    begins = torch.cat([edge, changes], 1)
    ends = torch.cat([changes, edge], 1)
    first = torch.where(begins, index, 0).cummax(1).values
    last = torch.where(ends, index, count).flip(1).cummin(1).values.flip(1)
    total = torch.cat([hit.new_zeros(len(hit), 1), hit.cumsum(1)], 1)
    before = total.gather(1, first)
    return SortedTable(
        place=(index + 1).double(),
        inside=(index - first + 1).double(),
        size=(last - first + 1).double(),
        right=total.gather(1, last + 1) - before,
        right_before=before,
        right_total=total[:, -1],
    )


def relevance(table: SortedTable, ties: TiePolicy) -> Tensor:
    """Probability that a right answer stands at each place.

    Args:
        table: Sorted queries.
        ties: See :func:`mmtvr.evaluation.ranking.ranks`.

    Returns:
        Shape (Q, N), float64; 0 or 1 unless ``ties`` is ``expected``.

    Raises:
        ValueError: Unknown policy.
    """
    if ties == 'optimistic':
        return (table.inside <= table.right).double()
    if ties == 'pessimistic':
        return (table.inside > table.size - table.right).double()
    if ties == 'expected':
        return table.right / table.size
    raise ValueError(f'ties must be one of {TIE_POLICIES}, got {ties!r}')


def average_precision(
    scores: Tensor, match: Tensor, ties: TiePolicy = 'expected'
) -> Tensor:
    """Mean precision at the places of the right answers.

    With ``expected`` ties the mean over all orders of tied items (McSherry
    and Najork, ECIR 2008).

    Args:
        scores: Shape (Q, N), floating point.
        match: Shape (Q, N), bool, at least one True in each row.
        ties: See :func:`mmtvr.evaluation.ranking.ranks`.

    Returns:
        Shape (Q,), float64, in 0..1.

    Raises:
        ValueError: A score is not finite.
    """
    check_finite(scores)
    table = sort_table(scores, match)
    here = relevance(table, ties)
    if ties == 'expected':
        others = (table.inside - 1) * (table.right - 1)
        so_far = 1 + others / (table.size - 1).clamp(min=1)
    elif ties == 'optimistic':
        so_far = table.inside
    else:
        so_far = table.inside - (table.size - table.right)
    precision = (table.right_before + so_far) / table.place
    return (here * precision).sum(1) / table.right_total


def ndcg(
    scores: Tensor, match: Tensor, k: int = 10, ties: TiePolicy = 'expected'
) -> Tensor:
    """Normalised discounted cumulative gain at k, with gains of 0 and 1.

    Args:
        scores: Shape (Q, N), floating point.
        match: Shape (Q, N), bool, at least one True in each row.
        k: Length of the result list.
        ties: See :func:`mmtvr.evaluation.ranking.ranks`.

    Returns:
        Shape (Q,), float64, in 0..1.

    Raises:
        ValueError: A score is not finite.
    """
    check_finite(scores)
    table = sort_table(scores, match)
    discount = 1 / (table.place + 1).log2()
    discount = torch.where(table.place <= k, discount, 0.0)
    gain = (relevance(table, ties) * discount).sum(1)
    ideal = discount.cumsum(0)[table.right_total.long() - 1]
    return gain / ideal


def summarise_graded(
    scores: Tensor,
    query_ids: Tensor,
    item_ids: Tensor,
    ties: TiePolicy = 'expected',
    block_cells: int = 2**22,
) -> dict[str, Tensor]:
    """Both measures of many queries, in blocks of rows.

    Args:
        scores: Shape (Q, N), floating point.
        query_ids: Shape (Q,), int64.
        item_ids: Shape (N,), int64. Items with the id of a query answer it.
        ties: See :func:`mmtvr.evaluation.ranking.ranks`.
        block_cells: Scores of one block.

    Returns:
        ``mAP`` and ``NDCG10`` of each query, (Q,) float64, in 0..100.
    """
    rows = max(1, block_cells // max(1, len(item_ids)))
    found: dict[str, Sequence[Tensor]] = {'mAP': [], 'NDCG10': []}
    blocks = zip(scores.split(rows), query_ids.split(rows), strict=True)
    for part, ids in blocks:
        match = ids[:, None] == item_ids
        found['mAP'].append(100 * average_precision(part, match, ties))
        found['NDCG10'].append(100 * ndcg(part, match, 10, ties))
    return {name: torch.cat(values) for name, values in found.items()}


def mean(values: Tensor) -> float:
    """Exact mean, the same in any order.

    Args:
        values: Shape (Q,), Q at least 1.

    Returns:
        The mean.
    """
    return math.fsum(values.tolist()) / len(values)
