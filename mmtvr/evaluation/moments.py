"""Moments of videos: files and measures of QVHighlights.

A file has a JSON object on each line. Queries, with what is right:
``{"qid": 7, "query": "a man walks in", "vid": "clip", "duration": 150,
"relevant_windows": [[26, 36]]}``. Predictions: ``{"qid": 7, "query": "...",
"vid": "clip", "pred_relevant_windows": [[25, 37, 0.9], ...]}``, start, end
and score, the best first. Other fields are read and not used.
"""

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mmtvr.errors import SetupError
from mmtvr.files import write_atomically

#: Thresholds of R1; the original has no 0.3.
RECALL_IOUS = (0.3, 0.5, 0.7)
#: Thresholds of mAP, of which the average is taken.
PRECISION_IOUS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
#: Predictions of a query that count for mAP.
MAX_PREDICTIONS = 10
#: Seconds of right moments, the lower end excluded. The original ends at 150,
#: the length of its videos.
LENGTHS = dict(
    full=(0.0, math.inf),
    short=(0.0, 10.0),
    middle=(10.0, 30.0),
    long=(30.0, math.inf),
)
QUERIES = (
    'lines of JSON with qid, query, vid, duration and relevant_windows '
    '[[start, end], ...], as QVHighlights has them'
)
PREDICTIONS = (
    'lines of JSON with qid and pred_relevant_windows [[start, end, score], '
    '...], as QVHighlights has them'
)

QueryId = int | str


class MomentQuery(NamedTuple):
    """A query and what is right.

    Attributes:
        qid: Identifies the query.
        query: Its text.
        vid: Name of the video.
        duration: Seconds of the video.
        windows: Shape (W, 2), starts and ends in seconds; at least one.
    """

    qid: QueryId
    query: str
    vid: str
    duration: float
    windows: np.ndarray


@dataclass
class MomentRow:
    """Measures of the queries with right moments of some lengths, in percent.

    Attributes:
        lengths: A key of :data:`LENGTHS`.
        queries: How many there are; without any, all measures are NaN.
        recall: R1 by threshold of the IoU.
        precision: mAP by threshold.
        average: Mean of mAP over :data:`PRECISION_IOUS`.
    """

    lengths: str
    queries: int
    recall: dict[float, float]
    precision: dict[float, float]
    average: float


@dataclass
class MomentReport:
    """What an evaluation of moments found.

    Attributes:
        rows: One for each of :data:`LENGTHS`.
        missing: Queries without a prediction, which count as failed.
        unknown: Predictions of queries that are not in the truth.
    """

    rows: list[MomentRow]
    missing: int = 0
    unknown: int = 0

    def row(self, lengths: str = 'full') -> MomentRow:
        """The row of some lengths."""
        return next(row for row in self.rows if row.lengths == lengths)

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, lists and dicts, for JSON."""
        return asdict(self)


def read_queries(path: str | os.PathLike[str]) -> list[MomentQuery]:
    """Read queries with their right moments.

    Raises:
        SetupError: The file is missing, a line is of another format, or two
            have one qid.
    """
    found: dict[QueryId, MomentQuery] = {}
    for where, record in _read_lines(Path(path), QUERIES):
        windows = _read_windows(record, 'relevant_windows', 2, where, QUERIES)
        if not len(windows):
            raise SetupError(f'{where}: relevant_windows is empty')
        duration = record.get('duration')
        text, video = record.get('query'), record.get('vid')
        if (
            duration is None
            or not _is_number(duration)
            or not isinstance(text, str)
            or not isinstance(video, str)
        ):
            raise SetupError(f'{where}: expected {QUERIES}')
        qid = _read_qid(record, found, where, QUERIES)
        found[qid] = MomentQuery(qid, text, video, float(duration), windows)
    if not found:
        raise SetupError(f'{path} has no query: expected {QUERIES}')
    return list(found.values())


def read_predictions(
    path: str | os.PathLike[str],
) -> dict[QueryId, np.ndarray]:
    """Read predicted moments by qid.

    Returns:
        Arrays of shape (P, 3), start, end and score, in the order of the
        file. P may be 0.

    Raises:
        SetupError: The file is missing, a line is of another format, or two
            have one qid.
    """
    found: dict[QueryId, np.ndarray] = {}
    for where, record in _read_lines(Path(path), PREDICTIONS):
        qid = _read_qid(record, found, where, PREDICTIONS)
        found[qid] = _read_windows(
            record, 'pred_relevant_windows', 3, where, PREDICTIONS
        )
    return found


def write_predictions(
    path: str | Path,
    queries: Sequence[MomentQuery],
    predictions: Mapping[QueryId, Iterable[Sequence[float]]],
) -> None:
    """Write predictions as QVHighlights' evaluation reads them.

    Args:
        path: The file, ``.jsonl``.
        queries: What was asked.
        predictions: By qid: start, end and score, the best first.
    """
    lines = [
        json.dumps(
            dict(
                qid=query.qid,
                query=query.query,
                vid=query.vid,
                pred_relevant_windows=[
                    [float(value) for value in each]
                    for each in predictions[query.qid]
                ],
            )
        )
        for query in queries
    ]
    write_atomically(Path(path), ''.join(f'{line}\n' for line in lines))


def evaluate_moments(
    queries: Sequence[MomentQuery],
    predictions: Mapping[QueryId, np.ndarray],
) -> MomentReport:
    """Compare predicted moments with the right ones.

    As QVHighlights' ``standalone_eval`` does: R1 looks at the first
    prediction in the file and at the right moment that it meets best, a hit
    is an IoU of at least the threshold. mAP takes the first ten predictions,
    sorted by score; each right moment counts for one prediction; the
    precision is interpolated (VOC 2011). For a split by length, right moments
    of other lengths are left out, and queries that have none then.

    Different from it are: a query without a prediction counts as failed,
    where the original leaves it out of mAP and stops at R1; nothing is
    rounded; R1 is also given at 0.3.

    Args:
        queries: Queries with unique qids.
        predictions: By qid, shape (P, 3): start, end, score.

    Returns:
        The measures, in percent.
    """
    nothing = np.zeros((0, 3))
    by_length: dict[str, list[tuple[np.ndarray, float]]] = {}
    for name, (low, high) in LENGTHS.items():
        found = by_length[name] = []
        for query in queries:
            lengths = query.windows[:, 1] - query.windows[:, 0]
            kept = query.windows
            if name != 'full':
                kept = kept[(low < lengths) & (lengths <= high)]
            if len(kept):
                predicted = predictions.get(query.qid, nothing)
                found.append(_measure(predicted, kept))
    known = {query.qid for query in queries}
    return MomentReport(
        [_to_row(name, found) for name, found in by_length.items()],
        sum(not len(predictions.get(qid, nothing)) for qid in known),
        sum(qid not in known for qid in predictions),
    )


def _measure(
    predicted: np.ndarray, right: np.ndarray
) -> tuple[np.ndarray, float]:
    """Average precisions at all thresholds, and IoU of the first."""
    first = 0.0
    if len(predicted):
        first = float(temporal_iou(predicted[:1, :2], right).max())
    return average_precisions(predicted[:MAX_PREDICTIONS], right), first


def _to_row(name: str, found: Sequence[tuple[np.ndarray, float]]) -> MomentRow:
    precisions = np.full(len(PRECISION_IOUS), math.nan)
    first = np.array([math.nan])
    if found:
        precisions = 100 * np.mean([each for each, _ in found], axis=0)
        first = np.array([iou for _, iou in found])
    recall = {
        iou: 100 * float(np.mean(first >= iou)) if found else math.nan
        for iou in RECALL_IOUS
    }
    precision = dict(zip(PRECISION_IOUS, precisions.tolist(), strict=True))
    return MomentRow(
        name, len(found), recall, precision, float(precisions.mean())
    )


def temporal_iou(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Intersection over union of spans (N, 2) and (M, 2): shape (N, M).

    0 where both are empty.

    Example:
        >>> temporal_iou(np.array([[0.0, 2.0]]), np.array([[1.0, 4.0]]))
        array([[0.25]])
    """
    starts = np.maximum(one[:, None, 0], other[None, :, 0])
    ends = np.minimum(one[:, None, 1], other[None, :, 1])
    both = np.maximum(ends - starts, 0)
    lengths = [each[:, 1] - each[:, 0] for each in (one, other)]
    union = lengths[0][:, None] + lengths[1][None] - both
    return np.divide(both, union, out=np.zeros_like(both), where=union > 0)


def average_precisions(predicted: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Average precision of the moments of one query.

    Args:
        predicted: Shape (P, 3): start, end, score, in any order. Of equal
            scores the first comes first.
        right: Shape (W, 2), at least one.

    Returns:
        Shape (10,), one for each of :data:`PRECISION_IOUS`, from 0 to 1.
    """
    order = np.argsort(-predicted[:, 2], kind='stable')
    ious = temporal_iou(predicted[order, :2], right)
    found = []
    for threshold in PRECISION_IOUS:
        is_hit = np.zeros(len(ious), bool)
        free = np.ones(len(right), bool)
        for rank, row in enumerate(ious):
            # The best one that no better prediction has taken.
            open_ious = np.where(free, row, -1.0)
            if open_ious.size and open_ious.max() >= threshold:
                free[open_ious.argmax()] = False
                is_hit[rank] = True
        found.append(_interpolated(is_hit, len(right)))
    return np.array(found)


def _interpolated(is_hit: np.ndarray, right: int) -> float:
    """Area under precision over recall, each the best of later ones."""
    if not is_hit.any():
        return 0.0
    precision = is_hit.cumsum() / np.arange(1, len(is_hit) + 1)
    best_from = np.maximum.accumulate(precision[::-1])[::-1]
    # Recall rises by 1 / right at each hit.
    return float(best_from[is_hit].sum() / right)


def to_text(report: MomentReport) -> str:
    """Put a report into a table, and what was left out below."""
    header = ['moments', 'queries']
    header += [f'R1@{iou:g}' for iou in RECALL_IOUS]
    header += ['mAP@0.5', 'mAP@0.75', 'mAP avg']
    lines = [header]
    for row in report.rows:
        values = [*row.recall.values(), row.precision[0.5]]
        values += [row.precision[0.75], row.average]
        cells = ['-' if math.isnan(v) else f'{v:.2f}' for v in values]
        lines.append([row.lengths, f'{row.queries:,}', *cells])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [
        '  '.join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(
                zip(line, widths, strict=True)
            )
        )
        for line in lines
    ]
    if report.missing:
        text.append(f'{report.missing} queries without a prediction: failed')
    if report.unknown:
        text.append(
            f'{report.unknown} predictions of queries that are not in the '
            'truth: not counted'
        )
    return '\n'.join(text)


def _read_lines(path: Path, expected: str) -> Iterable[tuple[str, dict]]:
    try:
        lines = path.read_text(encoding='utf-8').splitlines()
    except (OSError, ValueError) as error:
        raise SetupError(
            f'{path} cannot be read ({error}): expected {expected}'
        ) from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f'{path}, line {number}'
        try:
            record = json.loads(line)
        except ValueError as error:
            raise SetupError(
                f'{where}: no JSON ({error}): expected {expected}'
            ) from error
        if not isinstance(record, dict):
            raise SetupError(f'{where}: expected {expected}')
        yield where, record


def _read_qid(
    record: dict, found: Mapping[QueryId, object], where: str, expected: str
) -> QueryId:
    qid = record.get('qid')
    if isinstance(qid, bool) or not isinstance(qid, int | str):
        raise SetupError(f'{where}: qid is {qid!r}: expected {expected}')
    if qid in found:
        raise SetupError(f'{where}: the qid {qid!r} stands in the file twice')
    return qid


def _read_windows(
    record: dict, name: str, fields: int, where: str, expected: str
) -> np.ndarray:
    windows = record.get(name)
    if not isinstance(windows, list) or not all(
        isinstance(each, list)
        and len(each) >= fields
        and all(map(_is_number, each[:fields]))
        and each[0] <= each[1]
        for each in windows
    ):
        raise SetupError(
            f'{where}: {name} is {windows!r:.80}: expected {expected}, '
            'start not behind end'
        )
    found = np.array([each[:fields] for each in windows], float)
    return found.reshape(-1, fields)


def _is_number(value: Any) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
    )
