"""Ranks of the right answers in a table of scores: pure functions.

A query is a row and an item a column. What is counted is how many items
*without* a match stand before the best-scored match of a query, so a query
with several right answers is asked only once and never competes with itself.
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

TiePolicy = Literal['optimistic', 'pessimistic', 'expected']
# Scores looked at together; bounds the memory beside a table of scores.
BLOCK_CELLS = 2**24
TIE_POLICIES = ('optimistic', 'pessimistic', 'expected')


class Placement(NamedTuple):
    """Where the best-scored match of each of Q queries stands.

    Attributes:
        better: Shape (Q,), int64. Items without a match that score strictly
            higher than the best match.
        tied: Shape (Q,), int64. Items without a match that score the same.
        matches: Shape (Q,), int64, at least 1. Matches with that best score.
    """

    better: Tensor
    tied: Tensor
    matches: Tensor


def check_finite(scores: Tensor) -> None:
    """Refuse scores that cannot be ranked.

    Args:
        scores: Shape (Q, N).

    Raises:
        ValueError: A score is NaN or infinite; names its row and column.
    """
    count, first = 0, None
    rows = max(1, BLOCK_CELLS // max(1, scores.shape[1]))
    for top, part in enumerate(scores.split(rows)):
        bad = (~torch.isfinite(part)).nonzero()
        if len(bad) and first is None:
            first = top * rows + bad[0, 0].item(), bad[0, 1].item()
        count += len(bad)
    if first is not None:
        raise ValueError(
            f'the score in row {first[0]}, column {first[1]} is '
            f'{scores[first].item()}: {count} of {scores.numel()} '
            'scores are not finite and cannot be ranked'
        )


def place(scores: Tensor, match: Tensor) -> Placement:
    """Count what stands before and beside the best match of each query.

    Args:
        scores: Shape (Q, N), floating point. Higher is better.
        match: Shape (Q, N), bool. True where the item answers the query;
            at least one in each row.

    Returns:
        The counts of all Q queries.

    Raises:
        ValueError: The shapes differ, a score is not finite, or a query has
            no match.

    Example:
        >>> place(torch.tensor([[0.2, 0.9, 0.2]]), torch.eye(1, 3).bool())
        Placement(better=tensor([1]), tied=tensor([1]), matches=tensor([1]))
    """
    if scores.ndim != 2 or scores.shape != match.shape:
        raise ValueError(
            'scores and match must have the same shape (Q, N), got '
            f'{tuple(scores.shape)} and {tuple(match.shape)}'
        )
    check_finite(scores)
    orphans = (~match.any(dim=1)).nonzero()
    if len(orphans):
        raise ValueError(
            f'{len(orphans)} queries have no matching item, the first is '
            f'row {orphans[0].item()}'
        )
    best = scores.masked_fill(~match, -math.inf).amax(dim=1, keepdim=True)
    equal = scores == best
    return Placement(
        better=((scores > best) & ~match).sum(dim=1),
        tied=(equal & ~match).sum(dim=1),
        matches=(equal & match).sum(dim=1),
    )


def ranks(placement: Placement, ties: TiePolicy = 'expected') -> Tensor:
    """Rank of the best match of each query, counted from 1.

    With one match this is 1 + strictly better + 0, all or half of the tied
    items. ``expected`` is the mean over all orders of the tied items, also
    when several matches are among them.

    Args:
        placement: Counts of Q queries.
        ties: ``optimistic`` puts the match before all tied items,
            ``pessimistic`` after them, ``expected`` takes the mean.

    Returns:
        Shape (Q,), float64.

    Raises:
        ValueError: Unknown policy.
    """
    better, tied, matches = (field.double() for field in placement)
    if ties == 'optimistic':
        return better + 1
    if ties == 'pessimistic':
        return better + 1 + tied
    if ties == 'expected':
        return better + 1 + tied / (matches + 1)
    raise ValueError(f'ties must be one of {TIE_POLICIES}, got {ties!r}')


def hits(placement: Placement, k: int, ties: TiePolicy = 'expected') -> Tensor:
    """Whether a match of each query is among its first k items.

    Under ``expected`` the probability of that when tied items come in random
    order: a constant table of N items and one match gives k / N, not 1.

    Args:
        placement: Counts of Q queries.
        k: Length of the result list, at least 1.
        ties: As in :func:`ranks`.

    Returns:
        Shape (Q,), float64, in 0..1.
    """
    if ties != 'expected':
        return (ranks(placement, ties) <= k).double()
    better, tied, matches = (field.double() for field in placement)
    reachable = (better < k).double()
    none_yet = torch.ones_like(reachable)
    # Fill the places that the better items leave free, one draw at a time.
    for draw in range(min(k, int(placement.tied.max().item()) + 1)):
        free = better + draw < k
        left = (tied - draw).clamp(min=0)
        fail = left / (left + matches)
        none_yet = torch.where(free, none_yet * fail, none_yet)
    return reachable * (1 - none_yet)


def summarise(
    placement: Placement,
    topk: Sequence[int] = (1, 5, 10),
    ties: TiePolicy = 'expected',
) -> dict[str, float]:
    """Recall in percent, median rank and mean rank.

    Sums are exact (``math.fsum``), so the order of the queries changes no
    digit.

    Args:
        placement: Counts of Q queries, Q at least 1.
        topk: The k of each recall.
        ties: As in :func:`ranks`.

    Returns:
        ``R{k}`` in 0..100 for each k, ``MdR`` (mean of the two middle ranks
        for an even number of queries) and ``MnR``, both from 1.

    Raises:
        ValueError: There is no query.
    """
    position = ranks(placement, ties).sort().values
    count = len(position)
    if not count:
        raise ValueError('there is no query to rank')
    report = {
        f'R{k}': 100 * math.fsum(hits(placement, k, ties).tolist()) / count
        for k in topk
    }
    middle = position[(count - 1) // 2] + position[count // 2]
    report['MdR'] = middle.item() / 2
    report['MnR'] = math.fsum(position.tolist()) / count
    return report
