"""A whole evaluation: raw scores first, each rescoring in its own row."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter
from torch import Tensor

from mmtvr.evaluation.protocols import TIE_POLICIES, TiePolicy
from mmtvr.evaluation.ranking import (
    best_of_groups,
    bootstrap_interval,
    hits,
    mean,
    place_by_id,
    ranks,
    summarise,
    summarise_graded,
    text_to_video,
    video_to_text,
)

TOPK = (1, 5, 10, 50)
DIRECTIONS = {'t2v': 'text to video', 'v2t': 'video to text'}
RUN_TITLE = 'run'
MEASURES = {
    'R1': 'R@1',
    'R5': 'R@5',
    'R10': 'R@10',
    'R50': 'R@50',
    'MdR': 'MdR',
    'MnR': 'MnR',
    'mAP': 'mAP',
    'NDCG10': 'NDCG@10',
}
CELL = 13
BINS = 40


@dataclass
class DirectionReport:
    """Results of one direction.

    Attributes:
        queries: Number of queries.
        items: Number of items that are ranked.
        measures: ``R1``, ``R5``, ``R10``, ``R50``, ``mAP`` and ``NDCG10`` in
            0..100, ``MdR`` and ``MnR`` from 1.
        intervals: 95 % bootstrap interval of each measure.
        tie_share: Share of queries whose answer ties with a wrong item.
        policies: The measures of all three tie policies where they differ.
    """

    queries: int
    items: int
    measures: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    tie_share: float
    policies: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass
class ReportRow:
    """Results of the raw or of one kind of rescored scores.

    Attributes:
        label: ``'raw'`` or the label of the rescoring.
        needs_all_queries: Whether all test queries are needed at once.
        t2v: Text to video; the only direction of a run.
        v2t: Video to text, or None.
        RSum: Sum of R@1, R@5 and R@10 of both directions.
    """

    label: str
    needs_all_queries: bool
    t2v: DirectionReport
    v2t: DirectionReport | None
    RSum: float = 0.0

    def __post_init__(self) -> None:
        both = [each.measures for each in (self.t2v, self.v2t) if each]
        self.RSum = sum(each[f'R{k}'] for each in both for k in (1, 5, 10))


@dataclass
class Report:
    """What an evaluation found.

    Attributes:
        about: Facts that stand above the numbers: protocol, ceiling, decoder,
            frame sampling and the like.
        ties: The policy of the measures.
        rows: Raw first.
    """

    about: dict[str, str]
    ties: TiePolicy
    rows: list[ReportRow]

    def as_dict(self) -> dict:
        """Plain numbers, lists and dicts, for JSON."""
        return asdict(self)


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

    Raises:
        ValueError: A score is not finite or a text has no video.
    """
    rows = []
    for label, rescore, needs_all in (('raw', None, False), *rescorings):
        t2v, v2t = (
            evaluate(table, name, ties, rescore) for name in DIRECTIONS
        )
        rows.append(ReportRow(label, needs_all, t2v, v2t))
    return Report(dict(about or {}), ties, rows)


def orient(table: Table, direction: str) -> tuple[Tensor, Tensor, Tensor]:
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
    caption answers (see :mod:`mmtvr.evaluation.ranking`); mAP and NDCG look
    at all captions as they are. A rescoring works on what is ranked: all texts
    from text to video, the best caption of each video in the other direction.

    Args:
        table: Scores and ids.
        direction: ``'t2v'`` or ``'v2t'``.
        ties: Policy of the measures.
        rescore: Change of the scores, or None.
    """
    if rescore is not None:
        scores, query_ids, item_ids = orient(table, direction)
        graded = Table(rescore(scores, direction), query_ids, item_ids)
        placement = place_by_id(*graded)
    elif direction == 't2v':
        graded = table
        placement = text_to_video(*table)
    else:
        asked = torch.isin(table.video_ids, table.text_video_ids)
        captions = table.scores.T
        # Without a copy where every video has a text.
        captions = captions if asked.all() else captions[asked]
        ids = table.video_ids[asked]
        graded = Table(captions, ids, table.text_video_ids)
        placement = video_to_text(*table)
    values = summarise_graded(*graded, ties=ties)
    values |= {f'R{k}': 100 * hits(placement, k, ties) for k in TOPK}
    values['MdR'] = values['MnR'] = ranks(placement, ties)
    groups = len(table.text_video_ids.unique())
    report = DirectionReport(
        queries=len(placement.better),
        items=len(table.video_ids) if direction == 't2v' else groups,
        measures=summarise(placement, TOPK, ties)
        | {name: mean(values[name]) for name in ('mAP', 'NDCG10')},
        intervals={
            name: bootstrap_interval(
                each, 'median' if name == 'MdR' else 'mean'
            )
            for name, each in values.items()
        },
        tie_share=mean((placement.tied > 0).double()),
    )
    if placement.tied.any():
        report.policies = {
            policy: summarise(placement, TOPK, policy)
            for policy in TIE_POLICIES
        }
    return report


def to_text(report: Report) -> str:
    """A report in columns.

    The facts, then per row and direction a line of values and one of their
    95 % intervals.
    """
    width = max([len(name) for name in report.about], default=0)
    lines = [
        f'{name:<{width}}  {value}' for name, value in report.about.items()
    ]
    lines += [
        '',
        ' ' * CELL + ''.join(f'{name:>{CELL}}' for name in MEASURES.values()),
    ]
    for row in report.rows:
        if row.v2t is None:
            lines += ['', *_direction(RUN_TITLE, row.t2v)]
            continue
        lines += ['', _head(row)]
        for direction, title in DIRECTIONS.items():
            lines += _direction(title, getattr(row, direction))
    lines += [
        '',
        f'Ties: {report.ties}. In brackets 95 % bootstrap intervals.',
    ]
    return '\n'.join(lines) + '\n'


def _head(row: ReportRow) -> str:
    needs = 'yes' if row.needs_all_queries else 'no'
    return (
        f'{row.label}   RSum {row.RSum:.1f}   '
        f'needs all test queries at once: {needs}'
    )


def _direction(title: str, report: DirectionReport) -> list[str]:
    lines = [_format_values(title, report.measures)]
    intervals = [
        '[{:.1f}, {:.1f}]'.format(*report.intervals[name]) for name in MEASURES
    ]
    lines.append(' ' * CELL + ''.join(f'{x:>{CELL}}' for x in intervals))
    facts = (
        f'{report.queries:,} queries, {report.items:,} items, '
        f'{report.tie_share:.1%} of the queries tie'
    )
    lines += [f'  {facts}'] if not report.policies else [f'  {facts}:']
    lines += [
        _format_values(f'  {policy}', measures)
        for policy, measures in report.policies.items()
    ]
    return lines


def _format_values(title: str, measures: dict[str, float]) -> str:
    cells = [
        f'{measures[name]:.2f}' if name in measures else ''
        for name in MEASURES
    ]
    return f'{title:<{CELL}}' + ''.join(f'{x:>{CELL}}' for x in cells)


def plot_ranks(path: Path, ranks: Mapping[str, Tensor], title: str) -> None:
    """Plot a histogram of ranks and the recall at every k.

    Args:
        path: Where to, for example a PNG.
        ranks: Direction (``t2v``, ``v2t``) to the rank of each query, (Q,),
            from 1.
        title: What was evaluated.
    """
    figure = Figure(figsize=(10, 4), layout='constrained')
    histogram, curve = figure.subplots(1, 2)
    last = max(float(each.max()) for each in ranks.values())
    edges = np.unique(np.geomspace(1, last + 1, BINS).round()) - 0.5
    for name, each in ranks.items():
        values = np.sort(each.numpy())
        histogram.hist(
            values,
            edges,
            weights=np.full(len(values), 100 / len(values)),
            histtype='step',
            linewidth=1.5,
            label=DIRECTIONS[name],
        )
        share = 100 * np.arange(1, len(values) + 1) / len(values)
        curve.step(
            [*values, last],
            [*share, 100],
            where='post',
            label=DIRECTIONS[name],
        )
    for axes in (histogram, curve):
        axes.set_xscale('log')
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.grid(alpha=0.4)
    histogram.set(xlabel='rank of the right answer', ylabel='queries (%)')
    curve.set(xlabel='k', ylabel='recall at k (%)', ylim=(0, 101))
    curve.legend(loc='lower right')
    # File names may hold a $, which would begin a formula.
    figure.suptitle(title, parse_math=False)
    figure.savefig(path, dpi=120)
