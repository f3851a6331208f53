"""Both directions of a table of texts against videos, matched by ids.

Text to video: every text is a query over all videos. Video to text: every
video is a query over the *videos' groups of captions*, and a group scores as
its best caption does. That is the rule of the field for many-caption sets
(MSVD; CLIP4Clip, ``main_task_retrieval.py``), and with one caption per video
it is the plain transpose.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mmtvr.evaluation.ranking import (
    BLOCK_CELLS,
    Placement,
    TiePolicy,
    check_finite,
    place,
    summarise,
)


def place_by_id(
    scores: Tensor, query_ids: Tensor, item_ids: Tensor
) -> Placement:
    """Place queries whose matches are the items with the same id.

    Works on blocks of rows, so that the memory beside ``scores`` is bounded.

    Args:
        scores: Shape (Q, N), floating point.
        query_ids: Shape (Q,), int64.
        item_ids: Shape (N,), int64. May repeat.

    Returns:
        The counts of all Q queries.

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
        row = orphans[0].item()
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
    """Maximum over the rows of each group.

    Args:
        scores: Shape (B, V).
        groups: Shape (B,), int64 group of each row.

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
    """Place every text among the videos.

    Args:
        scores: Shape (B, V), rows are texts, columns are videos.
        text_video_ids: Shape (B,), int64 id of the video of each text.
        video_ids: Shape (V,), int64. May hold videos without a text.

    Returns:
        The counts of the B texts.

    Raises:
        ValueError: See :func:`place_by_id`.
    """
    return place_by_id(scores, text_video_ids, video_ids)


def video_to_text(
    scores: Tensor, text_video_ids: Tensor, video_ids: Tensor
) -> Placement:
    """Place every video that has a text among the groups of captions.

    Args:
        scores: Shape (B, V), rows are texts, columns are videos.
        text_video_ids: Shape (B,), int64 id of the video of each text.
        video_ids: Shape (V,), int64. Videos without a text are no queries.

    Returns:
        The counts of the videos that have a text, in column order.

    Raises:
        ValueError: See :func:`place_by_id`.
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

    Args:
        scores: Shape (B, V), rows are texts, columns are videos.
        text_video_ids: Shape (B,), int64 id of the video of each text.
        video_ids: Shape (V,), int64.
        topk: The k of each recall.
        ties: See :func:`mmtvr.evaluation.ranking.ranks`.

    Returns:
        ``R1, R5, R10, MdR, MnR`` of text to video and the same with the
        prefix ``v2t_``; recalls in 0..100.

    Raises:
        ValueError: See :func:`place_by_id`.
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
