"""The whole report of a test run, as a metric."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from mmtvr.evaluation.directions import text_to_video, video_to_text
from mmtvr.evaluation.protocols import describe_protocol
from mmtvr.evaluation.ranking import TIE_POLICIES, TiePolicy, ranks
from mmtvr.evaluation.report import Table, build_report
from mmtvr.evaluation.report_parts import Report
from mmtvr.evaluation.report_picture import draw_ranks
from mmtvr.evaluation.report_text import to_text
from mmtvr.evaluation.rescoring_options import parse_rescorings
from mmtvr.evaluation.result_rows import ResultRows, collect, from_scores
from mmtvr.registry import METRICS


@METRICS.register_module()
class RetrievalReport(BaseMetric):
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
        about (dict, optional): Facts to print with the numbers: decoder,
            frame sampling.
        ties (str): Policy of the measures, see ``TextVideoRecall``.
        out_dir (str, optional): Folder to write to.
        prefix (str, optional): Prefix of ``RSum``, ``mAP`` and ``NDCG10``.
            Defaults to None, which means ``report``.

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
        super().__init__(prefix=prefix)
        if ties not in TIE_POLICIES:
            raise ValueError(
                f'ties must be one of {TIE_POLICIES}, got {ties!r}'
            )
        if protocol is not None:
            describe_protocol(protocol, 0, 0)
        self.protocol = protocol
        self.rescorings = parse_rescorings(rescore)
        self.about = dict(about or {})
        self.ties = ties
        self.out_dir = None if out_dir is None else Path(out_dir)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep one block of rows.

        Args:
            data_batch: Not used.
            data_samples: Dicts with ``scores``, ``text_video_id`` and
                ``video_ids``.
        """
        if data_samples:
            self.results.append(from_scores(data_samples))

    def compute_metrics(self, results: list[ResultRows]) -> dict[str, float]:
        """Build, log and write the report.

        Args:
            results: One table with all rows.

        Returns:
            ``RSum``, and ``mAP`` and ``NDCG10`` in both directions.
        """
        table = Table(*results[0])
        about = dict(self.about)
        if self.protocol is not None:
            about |= describe_protocol(self.protocol, *table.scores.shape)
        left_out = (self.dataset_meta or {}).get('left_out')
        if left_out is not None:
            about['left out'] = left_out
        report = build_report(table, self.rescorings, about, self.ties)
        print_log(f'Report\n{to_text(report)}', 'current')
        if self.out_dir is not None and is_main_process():
            write_report(self.out_dir, report, table, self.protocol or '')
        raw = report.rows[0]
        return {
            'RSum': raw.RSum,
            **{n: raw.t2v.measures[n] for n in ('mAP', 'NDCG10')},
            **{f'v2t_{n}': raw.v2t.measures[n] for n in ('mAP', 'NDCG10')},
        }

    def evaluate(self, size: int) -> dict[str, float]:
        """Collect the rows of all ranks and report on them.

        Args:
            size: Number of rows of the whole test set.

        Returns:
            The metrics, with the prefix in their names.

        Raises:
            ValueError: No rank has a row, or a score is not finite.
        """
        table = collect(self.results, size)
        self.results.clear()
        metrics = self.compute_metrics([table])
        return {f'{self.prefix}/{name}': v for name, v in metrics.items()}


def write_report(
    folder: Path, report: Report, table: Table, title: str
) -> None:
    """Write a report as text, JSON and picture.

    Args:
        folder: Made if it is not there.
        report: The report.
        table: What was evaluated, for the picture.
        title: Title of the picture.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = to_text(report)
    (folder / 'report.txt').write_text(text, encoding='utf-8')
    content = json.dumps(report.as_dict(), indent=2)
    (folder / 'report.json').write_text(content + '\n', encoding='utf-8')
    positions = {
        't2v': ranks(text_to_video(*table), report.ties),
        'v2t': ranks(video_to_text(*table), report.ties),
    }
    draw_ranks(folder / 'report.png', positions, title)
