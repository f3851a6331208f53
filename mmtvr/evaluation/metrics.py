"""The metrics of text-video retrieval that configs name."""

import json
import re
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.dist import (
    all_gather_object,
    get_comm_device,
    get_dist_info,
    is_main_process,
)
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from torch import Tensor

from mmtvr.distributed.gather import gather_rows
from mmtvr.evaluation.protocols import (
    TIE_POLICIES,
    TiePolicy,
    describe_protocol,
)
from mmtvr.evaluation.ranking import (
    both_directions,
    ranks,
    text_to_video,
    video_to_text,
)
from mmtvr.evaluation.report import (
    Report,
    Table,
    build_report,
    plot_ranks,
    to_text,
)
from mmtvr.evaluation.rescoring import parse_rescorings
from mmtvr.files import write_arrays
from mmtvr.registry import METRICS

UNKNOWN_ID = -1


class ResultRows(NamedTuple):
    """Rows of one batch or of a whole test set, on the CPU.

    Attributes:
        rows: Shape (N, W), float32. Either the scores of N texts against W
            videos, or for N samples the text feature followed by the video
            feature, each W / 2 wide.
        ids: Shape (N,), int64. Video id of each row; -1 if unknown.
        video_ids: Shape (W,), int64 id of each column of scores; empty when
            the rows hold features.
    """

    rows: Tensor
    ids: Tensor
    video_ids: Tensor


def from_scores(samples: Sequence[Mapping]) -> ResultRows:
    """Rows of scores.

    Args:
        samples: Dicts with ``scores`` (V,), ``text_video_id`` and
            ``video_ids`` (V,), the latter the same in all of them.
    """
    return ResultRows(
        torch.stack([sample['scores'] for sample in samples]).float().cpu(),
        torch.tensor([int(sample['text_video_id']) for sample in samples]),
        torch.as_tensor(samples[0]['video_ids']).cpu(),
    )


def from_features(samples: Sequence[Mapping]) -> ResultRows:
    """Rows of features, as mmaction2's ``CLIPSimilarity`` predicts them.

    Args:
        samples: Dicts with ``features``, which holds ``text_feature`` (D,)
            and ``video_feature`` (D,), and perhaps an integer ``video_id``.
    """
    pairs = [
        torch.cat([found['text_feature'], found['video_feature']])
        for found in (sample['features'] for sample in samples)
    ]
    ids = [sample.get('video_id') for sample in samples]
    return ResultRows(
        torch.stack(pairs).float().cpu(),
        torch.tensor([i if isinstance(i, int) else UNKNOWN_ID for i in ids]),
        torch.empty(0, dtype=torch.int64),
    )


def to_table(rows: ResultRows) -> Table:
    """Scores of collected rows.

    Features are compared by cosine. Samples with the same video id share one
    column; without ids each sample is its own video.
    """
    if len(rows.video_ids):
        return Table(*rows)
    text, video = torch.nn.functional.normalize(
        rows.rows.unflatten(1, (2, -1)), dim=-1
    ).unbind(dim=1)
    ids = rows.ids
    if (ids == UNKNOWN_ID).any():
        ids = torch.arange(len(ids))
    columns, first = np.unique(ids.numpy(), return_index=True)
    return Table(text @ video[first].T, ids, torch.from_numpy(columns))


def _gather(local: Tensor) -> Tensor:
    return gather_rows(local.to(get_comm_device())).cpu()


def interleaved_order(count: int, size: int) -> Tensor:
    """Order that takes gathered rows of all ranks in turn.

    mmengine's samplers deal samples out to ranks in turn and append some to
    give each rank the same number; those are cut off.

    Args:
        count: Number of rows of this rank.
        size: Number of rows of the whole test set.

    Returns:
        Shape (at most size,), int64 index into rows gathered rank by rank.
    """
    rank, world = get_dist_info()
    turn = _gather(torch.arange(count) * world + rank)
    return turn.argsort()[:size]


def collect(results: Sequence[ResultRows], size: int) -> ResultRows:
    """Put the batches of all ranks together, as tensors, without pickles.

    Args:
        results: The batches of this rank; may be empty.
        size: Number of rows of the whole test set; rows beyond it are padding
            of the sampler.

    Returns:
        All rows in the order of one process, the same on every rank.

    Raises:
        ValueError: No rank has a row.
    """
    shape = [(t.rows.shape[1], len(t.video_ids)) for t in results[:1]]
    shapes = _gather(torch.tensor(shape, dtype=torch.int64).reshape(-1, 2))
    if not len(shapes):
        raise ValueError('there is nothing to evaluate: no rank has a result')
    width, videos = shapes[0].tolist()
    none = torch.empty(0, dtype=torch.int64)
    rows = torch.cat([torch.empty(0, width), *(t.rows for t in results)])
    ids = torch.cat([none, *(t.ids for t in results)])
    columns = torch.cat([none, *(t.video_ids for t in results[:1])])
    order = interleaved_order(len(rows), size)
    if videos:
        columns = _gather(columns.reshape(-1, videos))[0]
    return ResultRows(_gather(rows)[order], _gather(ids)[order], columns)


class CollectedMetric(BaseMetric):
    """A metric that every rank computes from the rows of all ranks.

    They are collected as tensors through the process group;
    ``collect_device`` and ``collect_dir`` of the base class are not needed.
    """

    def __init__(self, ties: TiePolicy, prefix: str | None) -> None:
        super().__init__(prefix=prefix)
        if ties not in TIE_POLICIES:
            raise ValueError(
                f'ties must be one of {TIE_POLICIES}, got {ties!r}'
            )
        self.ties = ties

    @property
    def left_out(self) -> str | None:
        """What the dataset left out, in words."""
        return (self.dataset_meta or {}).get('left_out')

    def evaluate(self, size: int) -> dict[str, float]:
        """Evaluate the rows of all ranks.

        Args:
            size: Number of rows of the whole test set.

        Raises:
            ValueError: No rank has a row, or a score is not finite.
        """
        rows = collect(self.results, size)
        self.results.clear()
        metrics = self.compute_metrics([rows])
        return {f'{self.prefix}/{name}': v for name, v in metrics.items()}


@METRICS.register_module()
class TextVideoRecall(CollectedMetric):
    """Recall at k, median and mean rank, text to video and video to text.

    Who is right is decided by video ids, never by the diagonal, so several
    captions of one video need no special case: each caption is a query, and
    in the other direction a video is right with the best of its captions.

    It takes the rows of scores that ``RetrievalValLoop`` feeds, dicts of
    ``scores`` (V,), ``text_video_id`` and ``video_ids`` (V,); and it takes
    data samples that hold ``features`` with a ``text_feature`` and a
    ``video_feature``, such as mmaction2's ``CLIPSimilarity`` predicts, which
    it compares by cosine. Those are matched by an integer ``video_id`` if
    they have one, else each text belongs to the video of its own sample.

    It can stand for mmaction2's ``RetrievalMetric`` and takes its arguments.

    Args:
        topk (Sequence[int]): The k of each recall.
        ties (str): ``expected`` (mean over all orders of tied items),
            ``optimistic`` or ``pessimistic``.
        prefix (str, optional): Prefix of the metric names, ``retrieval`` by
            default.
        metric_list (str | Sequence[str], optional): The measures, among
            ``'R1'``, ``'R5'`` and any other k, ``'MdR'`` and ``'MnR'``, in
            place of ``topk``; each is reported in both directions.
        collect_device (str): Has no effect: scores are gathered on the device
            of the process group.

    Raises:
        ValueError: Unknown tie policy or measure, a k below 1, or both
            ``topk`` and ``metric_list``.

    Example:
        >>> # in a config
        >>> val_evaluator = dict(type='mmtvr.TextVideoRecall')
        >>> # anywhere
        >>> import torch
        >>> metric = TextVideoRecall(topk=(1,))
        >>> scores = torch.tensor([[0.9, 0.1], [0.2, 0.7]])
        >>> metric.process(None, [
        ...     dict(scores=row, text_video_id=i, video_ids=torch.arange(2))
        ...     for i, row in enumerate(scores)])
        >>> report = metric.evaluate(size=2)  # doctest: +SKIP
        >>> report['retrieval/R1']  # doctest: +SKIP
        100.0
    """

    default_prefix = 'retrieval'

    def __init__(
        self,
        topk: Sequence[int] | None = None,
        ties: TiePolicy = 'expected',
        prefix: str | None = None,
        metric_list: str | Sequence[str] | None = None,
        collect_device: str = 'cpu',
    ) -> None:
        super().__init__(ties, prefix)
        if metric_list is not None:
            if topk is not None:
                raise ValueError('set either topk or metric_list, not both')
            self.measures, topk = _parse_measures(metric_list)
        else:
            topk = (1, 5, 10) if topk is None else tuple(topk)
            self.measures = (*(f'R{k}' for k in topk), 'MdR', 'MnR')
            if not topk or min(topk) < 1:
                raise ValueError(f'topk must be numbers from 1, got {topk}')
        self.topk = topk

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep one batch of either scores or features.

        Raises:
            ValueError: The samples hold neither.
        """
        if not data_samples:
            return
        if 'scores' in data_samples[0]:
            self.results.append(from_scores(data_samples))
        elif 'features' in data_samples[0]:
            self.results.append(from_features(data_samples))
        else:
            raise ValueError(
                'a sample must hold `scores` or `features`, got '
                f'{sorted(data_samples[0])}; mmtvr.TextVideoRetriever needs '
                "val_cfg=dict(type='mmtvr.RetrievalValLoop') and "
                "test_cfg=dict(type='mmtvr.RetrievalTestLoop')"
            )

    def compute_metrics(self, results: list[ResultRows]) -> dict[str, float]:
        """Rank all collected rows and log one line per direction.

        Returns:
            ``R1, R5, R10, MdR, MnR`` and ``v2t_R1 ...``, or those of
            ``metric_list``, as plain floats, recalls in percent.
        """
        table = to_table(*results)
        values = both_directions(*table, self.topk, self.ties)
        report = {
            f'{prefix}{name}': values[f'{prefix}{name}']
            for prefix in ('', 'v2t_')
            for name in self.measures
        }
        counts = '{} texts, {} videos'.format(*table.scores.shape)
        if self.left_out is not None:
            counts += f'; left out: {self.left_out}'
        print_log(f'{one_line(report)}  ({counts})', 'current')
        print_log(f'{one_line(report, "v2t_")}  ({counts})', 'current')
        return report


def _parse_measures(
    names: str | Sequence[str],
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    names = (names,) if isinstance(names, str) else tuple(names)
    unknown = [
        name
        for name in names
        if not re.fullmatch('R[1-9][0-9]*|MdR|MnR', name)
    ]
    if unknown or not names:
        raise ValueError(
            f'metric_list takes R1, R5 or another k, MdR and MnR, got {names}'
        )
    return names, tuple(int(name[1:]) for name in names if name[1:].isdigit())


def one_line(report: dict[str, float], prefix: str = '') -> str:
    """One direction of a report, empty prefix for text to video, as text.

    For example ``t2v  R@1 48.00  R@5 73.00  R@10 82.90  MdR 2.00  MnR 13.10``.
    """
    chosen = {
        name.removeprefix(prefix): value
        for name, value in report.items()
        if name.startswith('v2t_') == bool(prefix)
    }
    parts = [
        f'{name.replace("R", "R@") if name[1:].isdigit() else name} {v:.2f}'
        for name, v in chosen.items()
    ]
    return '  '.join([prefix.strip('_') or 't2v', *parts])


@METRICS.register_module()
class RetrievalReport(CollectedMetric):
    """Raw results with intervals, ties, protocol and ceiling; rescored apart.

    It takes the rows that ``RetrievalTestLoop`` feeds. The report is logged,
    and with ``out_dir`` written as ``report.txt``, ``report.json`` and
    ``report.png``. Each process computes the same numbers; the first writes.

    Args:
        protocol (str, optional): Name of a test protocol, such as
            ``msrvtt/1k-A``, see :mod:`mmtvr.evaluation.protocols`.
        rescore (Sequence[str]): ``NAME:TEMPERATURE``, such as
            ``dual-softmax:0.01`` or ``sinkhorn:0.01``. Fix temperatures
            beforehand or tune them on validation data.
        about (dict, optional): Facts to print with the numbers, beside those
            that the dataset states: decoder and frame sampling.
        ties (str): Policy of the measures, see ``TextVideoRecall``.
        out_dir (str, optional): Folder to write to.
        prefix (str, optional): Prefix of ``RSum``, ``mAP`` and ``NDCG10``,
            ``report`` by default.

    Raises:
        ValueError: Unknown protocol, rescoring or tie policy.
    """

    default_prefix = 'report'

    def __init__(
        self,
        protocol: str | None = None,
        rescore: Sequence[str] = (),
        about: Mapping[str, str] | None = None,
        ties: TiePolicy = 'expected',
        out_dir: str | None = None,
        prefix: str | None = None,
    ) -> None:
        super().__init__(ties, prefix)
        if protocol is not None:
            describe_protocol(protocol, 0, 0)
        self.protocol = protocol
        self.rescorings = parse_rescorings(rescore)
        self.about = dict(about or {})
        self.out_dir = None if out_dir is None else Path(out_dir)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep one block of rows of scores."""
        if data_samples:
            self.results.append(from_scores(data_samples))

    def compute_metrics(self, results: list[ResultRows]) -> dict[str, float]:
        """Log and write the report.

        Returns:
            ``RSum``, and ``mAP`` and ``NDCG10`` in both directions.
        """
        table = Table(*results[0])
        about = {**(self.dataset_meta or {}).get('about', {}), **self.about}
        if self.protocol is not None:
            about |= describe_protocol(self.protocol, *table.scores.shape)
        if self.left_out is not None:
            about['left out'] = self.left_out
        report = build_report(table, self.rescorings, about, self.ties)
        print_log(f'Report\n{to_text(report)}', 'current')
        if self.out_dir is not None and is_main_process():
            write_report(self.out_dir, report, table, self.protocol or '')
        raw = report.rows[0]
        found = {'RSum': raw.RSum}
        for prefix, side in (('', raw.t2v), ('v2t_', raw.v2t)):
            if side is not None:
                for name in ('mAP', 'NDCG10'):
                    found[f'{prefix}{name}'] = side.measures[name]
        return found


def write_report(
    folder: Path, report: Report, table: Table | None, title: str
) -> None:
    """Write ``report.txt``, ``.json`` and ``.png``, a plot of the ranks.

    Args:
        folder: Created if it is missing.
        report: The report.
        table: What was evaluated, for the plot; None for no plot.
        title: Title of the plot.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = to_text(report)
    (folder / 'report.txt').write_text(text, encoding='utf-8')
    content = json.dumps(report.as_dict(), indent=2)
    (folder / 'report.json').write_text(content + '\n', encoding='utf-8')
    if table is None:
        return
    positions = {
        't2v': ranks(text_to_video(*table), report.ties),
        'v2t': ranks(video_to_text(*table), report.ties),
    }
    plot_ranks(folder / 'report.png', positions, title)


@METRICS.register_module()
class SimilarityDump(BaseMetric):
    """Write all scores with the names of their rows and columns as npz.

    The file is read by ``numpy.load`` without pickle and holds

    * ``scores`` (B, V) float32, rows texts and columns videos, both in the
      order of the annotation file,
    * ``text_video_ids`` (B,) and ``video_ids`` (V,) int64: a text belongs to
      the videos with its id,
    * ``texts`` (B,) and ``videos`` (V,) strings: captions and file names.

    It takes the rows that ``RetrievalTestLoop`` feeds, and reports no metric.

    Args:
        out_file (str): Path that ends in ``.npz``.

    Raises:
        ValueError: Another ending.
    """

    def __init__(self, out_file: str) -> None:
        super().__init__()
        if not out_file.endswith('.npz'):
            raise ValueError(f'out_file must end in .npz, got {out_file}')
        self.out_file = Path(out_file)
        self.texts: list[str] = []
        self.videos: list[str] = []

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep one block of rows.

        Each has ``scores``, ``text_video_id``, ``video_ids``, ``text`` and
        ``video_names``.
        """
        self.results.append(from_scores(data_samples))
        self.texts += [sample['text'] for sample in data_samples]
        self.videos = data_samples[0]['video_names']

    def compute_metrics(self, results: list[ResultRows]) -> dict[str, float]:
        """Write the file; there is nothing to report."""
        (table,) = results
        column = (table.ids[:, None] == table.video_ids).int().argmax(dim=1)
        order = column.argsort(stable=True)
        self.out_file.parent.mkdir(parents=True, exist_ok=True)
        write_arrays(
            self.out_file,
            dict(
                scores=table.rows[order].numpy(),
                text_video_ids=table.ids[order].numpy(),
                video_ids=table.video_ids.numpy(),
                texts=np.array([self.texts[i] for i in order.tolist()]),
                videos=np.array(self.videos),
            ),
        )
        print_log(f'scores of all pairs are in {self.out_file}', 'current')
        return {}

    def evaluate(self, size: int) -> dict[str, float]:
        """Collect the rows of all ranks; the first one writes them."""
        order = interleaved_order(len(self.texts), size)
        texts = list(chain.from_iterable(all_gather_object(self.texts)))
        videos = max(all_gather_object(self.videos), key=len)
        table = collect(self.results, size)
        if is_main_process():
            self.texts = [texts[i] for i in order.tolist()]
            self.videos = videos
            self.compute_metrics([table])
        self.results.clear()
        self.texts = []
        return {}
