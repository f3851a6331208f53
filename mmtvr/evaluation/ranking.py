"""Ranks, recall, mAP, NDCG and their intervals: pure functions of scores."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import bootstrap
from torch import Tensor

from mmtvr.evaluation.protocols import TIE_POLICIES, TiePolicy

# Scores looked at together; bounds the memory beside a table of scores.
BLOCK_CELLS = 2**24
RESAMPLES = 1000
RESAMPLES_PER_BATCH = 50


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

    Raises:
        ValueError: A score is NaN or infinite; names its row and column.
    """
    count, first = 0, None
    rows = max(1, BLOCK_CELLS // max(1, scores.shape[1]))
    for top, part in enumerate(scores.split(rows)):
        bad = (~torch.isfinite(part)).nonzero()
        if len(bad) and first is None:
            first = top * rows + int(bad[0, 0]), int(bad[0, 1])
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


def place_by_id(
    scores: Tensor, query_ids: Tensor, item_ids: Tensor
) -> Placement:
    """Place queries whose matches are the items with the same id.

    Works on blocks of rows, so that the memory beside ``scores`` is bounded.

    Args:
        scores: Shape (Q, N), floating point.
        query_ids: Shape (Q,), int64.
        item_ids: Shape (N,), int64. May repeat.

    Raises:
        ValueError: A score is not finite, an id has no match, or the numbers
            of ids and of rows or columns differ.
    """
    if scores.shape != (len(query_ids), len(item_ids)):
        raise ValueError(
            f'{len(query_ids)} query ids and {len(item_ids)} item ids do not '
            f'fit scores of shape {tuple(scores.shape)}'
        )
    check_finite(scores)
    orphans = (~torch.isin(query_ids, item_ids)).nonzero()
    if len(orphans):
        row = int(orphans[0])
        raise ValueError(
            f'{len(orphans)} queries have no matching item, the first is row '
            f'{row} with id {query_ids[row].item()}'
        )
    rows = max(1, BLOCK_CELLS // max(1, len(item_ids)))
    blocks = [
        place(part, ids[:, None] == item_ids)
        for part, ids in zip(
            scores.split(rows), query_ids.split(rows), strict=True
        )
    ]
    return _join(blocks)


def best_of_groups(scores: Tensor, groups: Tensor) -> tuple[Tensor, Tensor]:
    """Maximum of scores (B, V) over the rows of each group (B,).

    Returns:
        The maxima, shape (G, V), and the G distinct groups in rising order.
    """
    names, index = groups.unique(return_inverse=True)
    best = scores.new_full((len(names), scores.shape[1]), -math.inf)
    best.scatter_reduce_(0, index[:, None].expand_as(scores), scores, 'amax')
    return best, names


def text_to_video(
    scores: Tensor, text_video_ids: Tensor, video_ids: Tensor
) -> Placement:
    """Place every text of scores (B, V) among the videos.

    Args:
        scores: Shape (B, V), rows are texts, columns are videos.
        text_video_ids: Shape (B,), int64 id of the video of each text.
        video_ids: Shape (V,), int64. May hold videos without a text.

    Raises:
        ValueError: See :func:`place_by_id`.
    """
    return place_by_id(scores, text_video_ids, video_ids)


def video_to_text(
    scores: Tensor, text_video_ids: Tensor, video_ids: Tensor
) -> Placement:
    """Place every video that has a text among the groups of captions.

    Arguments are those of :func:`text_to_video`. Videos without a text are no
    queries; the others are counted in column order.
    """
    check_finite(scores)
    asked = torch.isin(video_ids, text_video_ids).nonzero().squeeze(1)
    columns = max(1, BLOCK_CELLS // max(1, len(scores)))
    blocks = []
    for part in asked.split(columns):
        best, groups = best_of_groups(scores[:, part], text_video_ids)
        blocks.append(place_by_id(best.T, video_ids[part], groups))
    return _join(blocks)


def both_directions(
    scores: Tensor,
    text_video_ids: Tensor,
    video_ids: Tensor,
    topk: Sequence[int] = (1, 5, 10),
    ties: TiePolicy = 'expected',
) -> dict[str, float]:
    """Recall, median and mean rank in both directions.

    Arguments are those of :func:`text_to_video` and :func:`summarise`.

    Returns:
        ``R1, R5, R10, MdR, MnR`` of text to video and the same with the
        prefix ``v2t_``; recalls in 0..100.
    """
    asked = scores, text_video_ids, video_ids
    report = summarise(text_to_video(*asked), topk, ties)
    back = summarise(video_to_text(*asked), topk, ties)
    return report | {f'v2t_{name}': value for name, value in back.items()}


def _join(blocks: Sequence[Placement]) -> Placement:
    if not blocks:
        return Placement(*(torch.zeros(0, dtype=torch.int64),) * 3)
    return Placement(
        *(torch.cat(field) for field in zip(*blocks, strict=True))
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
    """Sort the items of each query by finite scores (Q, N)."""
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
    """Probability (Q, N) that a right answer stands at each place.

    0 or 1 unless ``ties`` is ``expected``.
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
        ties: See :func:`ranks`.

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
        ties: See :func:`ranks`.

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
        ties: See :func:`ranks`.
        block_cells: Scores of one block.

    Returns:
        ``mAP`` and ``NDCG10`` of each query, (Q,) float64, in 0..100.
    """
    rows = max(1, block_cells // max(1, len(item_ids)))
    found: dict[str, list[Tensor]] = {'mAP': [], 'NDCG10': []}
    blocks = zip(scores.split(rows), query_ids.split(rows), strict=True)
    for part, ids in blocks:
        match = ids[:, None] == item_ids
        found['mAP'].append(100 * average_precision(part, match, ties))
        found['NDCG10'].append(100 * ndcg(part, match, 10, ties))
    return {name: torch.cat(values) for name, values in found.items()}


def mean(values: Tensor) -> float:
    """Exact mean of at least one value, the same in any order."""
    return math.fsum(values.tolist()) / len(values)


def bootstrap_interval(
    values: Tensor, statistic: str = 'mean', confidence: float = 0.95
) -> tuple[float, float]:
    """Percentile bootstrap over queries, always with the same seed.

    Args:
        values: Shape (Q,), a value per query: its rank, or 0 to 100 for a
            recall.
        statistic: ``'mean'`` or ``'median'``.
        confidence: Share of resamples that the interval holds.

    Returns:
        Lower and upper end; both the value itself for a single query or equal
        values.

    Raises:
        ValueError: Unknown statistic.
    """
    functions = {'mean': np.mean, 'median': np.median}
    if statistic not in functions:
        raise ValueError(
            f'statistic must be one of {sorted(functions)}, got {statistic!r}'
        )
    sample = values.double().numpy()
    if len(sample) < 2 or np.ptp(sample) == 0:
        return float(sample[0]), float(sample[0])
    found = bootstrap(
        (sample,),
        functions[statistic],
        confidence_level=confidence,
        n_resamples=RESAMPLES,
        batch=RESAMPLES_PER_BATCH,
        method='percentile',
        rng=np.random.default_rng(0),
    )
    interval = found.confidence_interval
    return float(interval.low), float(interval.high)
