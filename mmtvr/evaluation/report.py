"""A whole evaluation: raw scores first, then each rescoring in its own row."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mmtvr.evaluation.directions import (
    best_of_groups,
    place_by_id,
    text_to_video,
    video_to_text,
)
from mmtvr.evaluation.graded import mean, summarise_graded
from mmtvr.evaluation.intervals import bootstrap_interval
from mmtvr.evaluation.ranking import (
    TIE_POLICIES,
    Placement,
    TiePolicy,
    hits,
    ranks,
    summarise,
)
from mmtvr.evaluation.report_parts import DirectionReport, Report, ReportRow

TOPK = (1, 5, 10, 50)
DIRECTIONS = ('t2v', 'v2t')


class Table(NamedTuple):
    """Scores of all texts against all videos.

    Attributes:
        scores: Shape (B, V), floating point, rows are texts.
        text_video_ids: Shape (B,), int64 id of the video of each text.
        video_ids: Shape (V,), int64.
    """

    scores: Tensor
    text_video_ids: Tensor
    video_ids: Tensor


class Rescoring(NamedTuple):
    """A change of scores that looks at more than one query.

    Attributes:
        label: What the report calls it, with its temperature.
        rescore: From scores whose rows are queries to new scores, with the
            name of the direction, ``t2v`` or ``v2t``.
        needs_all_queries: Whether it needs all test queries at once.
    """

    label: str
    rescore: Callable[[Tensor, str], Tensor]
    needs_all_queries: bool


def build_report(
    table: Table,
    rescorings: Sequence[Rescoring] = (),
    about: Mapping[str, str] | None = None,
    ties: TiePolicy = 'expected',
) -> Report:
    """Evaluate raw scores, then each rescoring.

    Args:
        table: Scores and ids.
        rescorings: What else to report.
        about: Facts to print above the numbers.
        ties: Policy of the measures.

    Returns:
        The report.

    Raises:
        ValueError: A score is not finite or a text has no video.
    """
    rows = [
        ReportRow(
            'raw',
            False,
            *(evaluate(table, name, ties) for name in DIRECTIONS),
        )
    ]
    for rescoring in rescorings:
        both = [
            evaluate(table, name, ties, rescoring.rescore)
            for name in DIRECTIONS
        ]
        rows.append(
            ReportRow(rescoring.label, rescoring.needs_all_queries, *both)
        )
    return Report(dict(about or {}), ties, rows)


def towards(table: Table, direction: str) -> tuple[Tensor, Tensor, Tensor]:
    """Turn a table so that rows are queries.

    Args:
        table: Scores and ids.
        direction: ``'t2v'`` or ``'v2t'``.

    Returns:
        Scores (Q, N), ids of the Q queries and of the N items. From video to
        text the queries are the videos that have a text, and the items the
        groups of texts of one video, which score as their best text does.

    Raises:
        ValueError: Unknown direction.
    """
    if direction == 't2v':
        return table.scores, table.text_video_ids, table.video_ids
    if direction != 'v2t':
        raise ValueError(f'direction must be t2v or v2t, got {direction!r}')
    asked = torch.isin(table.video_ids, table.text_video_ids)
    best, groups = best_of_groups(table.scores, table.text_video_ids)
    return best.T[asked], table.video_ids[asked], groups


def evaluate(
    table: Table,
    direction: str,
    ties: TiePolicy = 'expected',
    rescore: Callable[[Tensor, str], Tensor] | None = None,
) -> DirectionReport:
    """Evaluate one direction.

    From video to text, recall and rank ask for the first *video* whose best
    caption answers (see :mod:`mmtvr.evaluation.directions`); mAP and NDCG look
    at all captions as they are. A rescoring works on what is ranked: all texts
    from text to video, the best caption of each video in the other direction.

    Args:
        table: Scores and ids.
        direction: ``'t2v'`` or ``'v2t'``.
        ties: Policy of the measures.
        rescore: Change of the scores, or None.

    Returns:
        The results.
    """
    if rescore is not None:
        scores, *ids = towards(table, direction)
        graded = (rescore(scores, direction), *ids)
        placement = place_by_id(*graded)
    elif direction == 't2v':
        graded = table
        placement = text_to_video(*table)
    else:
        graded = _videos_as_queries(table)
        placement = video_to_text(*table)
    values = summarise_graded(*graded, ties)
    values |= _values(placement, ties)
    groups = len(table.text_video_ids.unique())
    report = DirectionReport(
        queries=len(placement.better),
        items=len(table.video_ids) if direction == 't2v' else groups,
        measures=summarise(placement, TOPK, ties)
        | {name: mean(values[name]) for name in ('mAP', 'NDCG10')},
        intervals=_intervals(values),
        tie_share=mean((placement.tied > 0).double()),
    )
    if placement.tied.any():
        report.policies = {
            policy: summarise(placement, TOPK, policy)
            for policy in TIE_POLICIES
        }
    return report


def _videos_as_queries(table: Table) -> tuple[Tensor, Tensor, Tensor]:
    asked = torch.isin(table.video_ids, table.text_video_ids)
    captions = table.scores.T
    if not asked.all():
        captions = captions[asked]
    return captions, table.video_ids[asked], table.text_video_ids


def _values(placement: Placement, ties: TiePolicy) -> dict[str, Tensor]:
    position = ranks(placement, ties)
    recalls = {f'R{k}': 100 * hits(placement, k, ties) for k in TOPK}
    return recalls | {'MdR': position, 'MnR': position}


def _intervals(values: Mapping[str, Tensor]) -> dict[str, tuple]:
    return {
        name: bootstrap_interval(each, 'median' if name == 'MdR' else 'mean')
        for name, each in values.items()
    }
