"""Fine-grained evaluation: partial captions and twins, from scores alone.

A set of fine-grained captions is a JSON object:

* ``texts``: captions, strings;
* ``videos``: names of all videos, whose ids are their positions;
* ``partial``: objects with ``kind``, ``text``, ``partial`` and ``video``. The
  caption ``partial`` is ``text`` with one described thing removed, both are
  true of the video. ``true_of`` lists other videos of which ``partial`` is
  known to be true; they are never counted as wrong.
* ``twins``: objects with ``kind``, ``text``, ``twin``, ``video`` and perhaps
  ``twin_video``. ``twin`` differs from ``text`` in one word and is false of
  ``video``; it is true of ``twin_video``, of which ``text`` is false.

Captions and videos are given by their positions in the two lists.
"""

import json
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mmtvr.errors import SetupError
from mmtvr.evaluation.ranking import RESAMPLES, check_finite
from mmtvr.files import write_atomically

#: Names of the measures, in the order of the report, and what chance gives.
MEASURES = {
    'order': ('full > partial > other', 100 / 6),
    'full_over_partial': ('full > partial', 50.0),
    'partial_over_other': ('partial > caption of another video', 50.0),
    'partial_over_video': ('partial: own > other video', 50.0),
    'text_score': ('text score', 25.0),
    'video_score': ('video score', 25.0),
    'group_score': ('group score', 100 / 6),
    'text_choice': ('text of two', 50.0),
    'video_choice': ('video of two', 50.0),
}
ALL = 'all'


class FineGrainedSet(NamedTuple):
    """Captions that differ in little, see the module.

    Attributes:
        texts: Captions.
        videos: Names of all videos.
        partial: Records of partial captions.
        twins: Records of twins.
    """

    texts: list[str]
    videos: list[str]
    partial: list[dict[str, Any]]
    twins: list[dict[str, Any]]


@dataclass
class FineGrainedRow:
    """One measure over the records of one kind.

    Attributes:
        measure: A key of :data:`MEASURES`.
        kind: Kind of the records, or ``'all'``.
        value: Percent.
        low: Lower end of its 95 % interval by bootstrap over videos.
        high: Upper end.
        records: Number of records.
        videos: Number of videos, or pairs of twins, that are resampled.
    """

    measure: str
    kind: str
    value: float
    low: float
    high: float
    records: int
    videos: int


@dataclass
class FineGrainedReport:
    """What a fine-grained evaluation found.

    Attributes:
        rows: All measures of all kinds.
        left_out: Records whose video has no column of scores.
        by_video: For each measure, the mean in percent over the records of
            a video (for twins, of the first of the two), by its number.
    """

    rows: list[FineGrainedRow]
    left_out: int = 0
    by_video: dict[str, dict[int, float]] = field(default_factory=dict)

    def value(self, measure: str, kind: str = ALL) -> float:
        """Percent of one measure; NaN if no record asks for it."""
        for row in self.rows:
            if (row.measure, row.kind) == (measure, kind):
                return row.value
        return float('nan')

    def as_dict(self) -> dict:
        """Plain numbers, lists and dicts, for JSON; without ``by_video``."""
        content = asdict(self)
        del content['by_video']
        return content


def read_fine_grained(path: str | os.PathLike[str]) -> FineGrainedSet:
    """Read a set of fine-grained captions.

    Raises:
        SetupError: The file is missing, or is no such set.
    """
    try:
        content = json.loads(Path(path).read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise SetupError(f'{path} cannot be read as JSON: {error}') from error
    return check_fine_grained(content, str(path))


def check_fine_grained(content: Any, source: str) -> FineGrainedSet:
    """Check what was read.

    Args:
        content: Parsed JSON.
        source: Where it is from, for messages.

    Raises:
        SetupError: Something is missing or out of range; names it.
    """
    if not isinstance(content, Mapping) or not _are_strings(content):
        raise SetupError(
            f'{source} must be a JSON object with the lists of strings '
            '"texts" and "videos", and records in "partial" and "twins"'
        )
    sizes = dict.fromkeys(('text', 'partial', 'twin'), len(content['texts']))
    sizes |= dict.fromkeys(('video', 'twin_video'), len(content['videos']))
    for name, keys in (
        ('partial', ('text', 'partial', 'video')),
        ('twins', ('text', 'twin', 'video')),
    ):
        for number, record in enumerate(content.get(name, [])):
            where = f'{source}: record {number} of "{name}"'
            if not isinstance(record, Mapping) or 'kind' not in record:
                raise SetupError(f'{where} must be an object with a "kind"')
            asked = [*keys]
            if record.get('twin_video') is not None:
                asked.append('twin_video')
            for key in asked:
                value = record.get(key)
                if type(value) is not int or not 0 <= value < sizes[key]:
                    raise SetupError(
                        f'{where} has {key}={value!r}, expected a position '
                        f'from 0 to {sizes[key] - 1}'
                    )
    return FineGrainedSet(
        list(content['texts']),
        list(content['videos']),
        list(content.get('partial', [])),
        list(content.get('twins', [])),
    )


def _are_strings(content: Mapping) -> bool:
    return all(
        isinstance(content.get(key), list)
        and all(isinstance(value, str) for value in content[key])
        for key in ('texts', 'videos')
    )


def evaluate_fine_grained(
    captions: FineGrainedSet,
    scores: Tensor,
    video_ids: Tensor | None = None,
) -> FineGrainedReport:
    """Evaluate scores of any model on fine-grained captions.

    For a partial caption p of the caption f of video v:

    * *full > partial*: s(f, v) > s(p, v);
    * *partial > caption of another video*: the share of the captions r of
      other videos, among those that have partial captions, with
      s(p, v) > s(r, v);
    * *full > partial > other*: the product of both;
    * *partial: own > other video*: the share of the other videos w with
      s(p, v) > s(p, w).

    For twins t of v and t' of v', as in Winoground (arXiv:2204.03162): the
    *text score* asks that s(t, v) > s(t', v) and s(t', v') > s(t, v'), the
    *video score* that s(t, v) > s(t, v') and s(t', v') > s(t', v), the
    *group score* both. *Text of two* and *video of two* count each of the
    questions by itself; without v' there is only s(t, v) > s(t', v). Equal
    scores count half.

    Args:
        captions: The captions.
        scores: Shape (texts, V), floating point, rows as ``captions.texts``.
        video_ids: Shape (V,), int64, which video each column is; None for
            the order of ``captions.videos``. Records of videos without a
            column are left out.

    Raises:
        ValueError: If the shape does not fit, or a score is not finite.
    """
    texts, videos = scores.shape
    if video_ids is None:
        video_ids = torch.arange(len(captions.videos))
    if (texts, videos) != (len(captions.texts), len(video_ids)):
        raise ValueError(
            f'scores must have shape ({len(captions.texts)}, '
            f'{len(video_ids)}), a row for each text of the set and a column '
            f'for each video, got ({texts}, {videos})'
        )
    check_finite(scores)
    scores = scores.double()
    column = {int(name): place for place, name in enumerate(video_ids)}
    partial = [r for r in captions.partial if r['video'] in column]
    twins = [
        r
        for r in captions.twins
        if r['video'] in column
        and (r.get('twin_video') is None or r['twin_video'] in column)
    ]
    left_out = len(captions.partial) + len(captions.twins)
    found = _Collected()
    if partial:
        _evaluate_partial(partial, scores, column, found)
    for record in twins:
        _evaluate_twins(record, scores, column, found)
    return FineGrainedReport(
        found.rows(),
        left_out - len(partial) - len(twins),
        {
            measure: found.by_video(measure)
            for measure, kind in found.values
            if kind == ALL
        },
    )


def _wins(one: Tensor, other: Tensor) -> Tensor:
    """1 where one score is higher than the other, 1/2 where equal."""
    return (one > other).double() + 0.5 * (one == other).double()


class _Collected:
    """Values per measure and kind, each of a record and of its video."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, str], list[tuple[int, float]]] = (
            defaultdict(list)
        )

    def add(
        self, record: Mapping, video: int, values: Mapping[str, float]
    ) -> None:
        for measure, value in values.items():
            for kind in (ALL, record['kind']):
                self.values[measure, kind].append((video, value))

    def by_video(self, measure: str) -> dict[int, float]:
        values: dict[int, list[float]] = defaultdict(list)
        for video, value in self.values[measure, ALL]:
            values[video].append(100 * value)
        return {
            video: sum(each) / len(each)
            for video, each in sorted(values.items())
        }

    def rows(self) -> list[FineGrainedRow]:
        rows = []
        for measure in MEASURES:
            kinds = {kind for name, kind in self.values if name == measure}
            for kind in sorted(kinds, key=lambda kind: (kind != ALL, kind)):
                pairs = self.values[measure, kind]
                videos = np.array([video for video, _ in pairs])
                values = 100 * np.array([value for _, value in pairs])
                low, high = cluster_interval(values, videos)
                count = len(np.unique(videos))
                rows.append(
                    FineGrainedRow(
                        measure,
                        kind,
                        float(values.mean()),
                        low,
                        high,
                        len(values),
                        count,
                    )
                )
        return rows


def _evaluate_partial(
    records: Sequence[Mapping],
    scores: Tensor,
    column: Mapping[int, int],
    found: _Collected,
) -> None:
    own: dict[int, set[int]] = defaultdict(set)
    for record in records:
        own[record['text']].add(record['video'])
    full = torch.tensor(sorted(own))
    by_video: dict[int, list[Mapping]] = defaultdict(list)
    for record in records:
        by_video[record['video']].append(record)
    for video, mine in by_video.items():
        here = scores[:, column[video]]
        others = torch.tensor([video not in own[t] for t in full.tolist()])
        others = here[full[others]]
        for record in mine:
            partial = here[record['partial']]
            values = {
                'full_over_partial': _wins(here[record['text']], partial),
            }
            if len(others):
                share = _wins(partial, others).mean()
                values['partial_over_other'] = share
                values['order'] = values['full_over_partial'] * share
            known = {video, *record.get('true_of', ())} & set(column)
            wrong = torch.ones(scores.shape[1]).bool()
            wrong[[column[each] for each in known]] = False
            if wrong.any():
                elsewhere = scores[record['partial'], wrong]
                share = _wins(partial, elsewhere).mean()
                values['partial_over_video'] = share
            found.add(record, video, {k: float(v) for k, v in values.items()})


def _evaluate_twins(
    record: Mapping,
    scores: Tensor,
    column: Mapping[int, int],
    found: _Collected,
) -> None:
    rows = [record['text'], record['twin']]
    video, twin = record['video'], record.get('twin_video')
    videos = [video] if twin is None else [video, twin]
    table = scores[rows][:, [column[each] for each in videos]]
    cluster = min(videos)
    first = _wins(table[0, 0], table[1, 0]).item()
    if twin is None:
        found.add(record, cluster, dict(text_choice=first))
        return
    second = _wins(table[1, 1], table[0, 1]).item()
    of_videos = _wins(table.diagonal(), table.flip(1).diagonal())
    right = first == second == 1, bool((of_videos == 1).all())
    found.add(
        record,
        cluster,
        dict(
            text_score=float(right[0]),
            video_score=float(right[1]),
            group_score=float(all(right)),
            text_choice=(first + second) / 2,
            video_choice=of_videos.mean().item(),
        ),
    )


def cluster_interval(
    values: np.ndarray, clusters: np.ndarray
) -> tuple[float, float]:
    """95 % interval of a mean by bootstrap over clusters, always seed 0.

    Whole videos are drawn with all of their values, as captions of one video
    are no independent samples.

    Args:
        values: Shape (N,), at least one.
        clusters: Shape (N,), which video each value is of.

    Returns:
        Lower and upper end; both the mean if there is one cluster.
    """
    names, index = np.unique(clusters, return_inverse=True)
    sums = np.bincount(index, values, len(names))
    counts = np.bincount(index, minlength=len(names))
    if len(names) == 1:
        return float(values.mean()), float(values.mean())
    rng = np.random.default_rng(0)
    chances = np.full(len(names), 1 / len(names))
    draws = rng.multinomial(len(names), chances, RESAMPLES)
    means = (draws @ sums) / (draws @ counts)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def to_text(report: FineGrainedReport) -> str:
    """A report in columns: measure, kind, value, interval, chance, counts."""
    lines = [
        f'{"fine-grained":<36}{"kind":<14}{"%":>7}{"95 % interval":>18}'
        f'{"chance":>8}{"records":>9}{"videos":>8}'
    ]
    for row in report.rows:
        title, chance = MEASURES[row.measure]
        interval = f'[{row.low:.1f}, {row.high:.1f}]'
        lines.append(
            f'{title:<36}{row.kind:<14}{row.value:>7.1f}{interval:>18}'
            f'{chance:>8.1f}{row.records:>9,}{row.videos:>8,}'
        )
    if report.left_out:
        lines.append(
            f'{report.left_out:,} records left out: their videos have no '
            'scores'
        )
    lines.append(
        'Intervals by bootstrap over videos. Equal scores count half, and '
        'as wrong in text, video and group score.'
    )
    return '\n'.join(lines) + '\n'


def metrics_of(report: FineGrainedReport) -> dict[str, float]:
    """The measures by name, those of one kind as ``NAME/KIND``."""
    return {
        row.measure if row.kind == ALL else f'{row.measure}/{row.kind}': (
            row.value
        )
        for row in report.rows
    }


def write_fine_grained_report(folder: Path, report: FineGrainedReport) -> None:
    """Write ``fine_grained.json`` and ``fine_grained.txt``."""
    folder.mkdir(parents=True, exist_ok=True)
    content = json.dumps(report.as_dict(), indent=2) + '\n'
    write_atomically(folder / 'fine_grained.json', content)
    write_atomically(folder / 'fine_grained.txt', to_text(report))
