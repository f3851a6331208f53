"""The metric of text-video retrieval."""

from collections.abc import Sequence
from typing import Any

from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from mmtvr.evaluation.directions import both_directions
from mmtvr.evaluation.ranking import TIE_POLICIES, TiePolicy
from mmtvr.evaluation.result_rows import (
    ResultRows,
    collect,
    from_features,
    from_scores,
    to_scores,
)
from mmtvr.registry import METRICS


@METRICS.register_module()
class TextVideoRecall(BaseMetric):
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

    Results of several processes are collected as tensors through the process
    group; ``collect_device`` and ``collect_dir`` of the base class are not
    needed.

    Args:
        topk (Sequence[int]): The k of each recall. Defaults to (1, 5, 10).
        ties (str): ``expected`` (mean over all orders of tied items),
            ``optimistic`` or ``pessimistic``. Defaults to ``expected``.
        prefix (str, optional): Prefix of the metric names. Defaults to None,
            which means ``retrieval``.

    Raises:
        ValueError: Unknown tie policy or a k below 1.

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
        topk: Sequence[int] = (1, 5, 10),
        ties: TiePolicy = 'expected',
        prefix: str | None = None,
    ) -> None:
        super().__init__(prefix=prefix)
        if ties not in TIE_POLICIES:
            raise ValueError(
                f'ties must be one of {TIE_POLICIES}, got {ties!r}'
            )
        if not topk or min(topk) < 1:
            raise ValueError(f'topk must be numbers from 1, got {topk}')
        self.topk = tuple(topk)
        self.ties = ties

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep one batch.

        Args:
            data_batch: Not used.
            data_samples: Rows of scores, or samples with features; not both.

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

        Args:
            results: One table with all rows.

        Returns:
            ``R1, R5, R10, MdR, MnR`` and ``v2t_R1 ...`` as plain floats,
            recalls in percent.
        """
        (table,) = results
        scores, text_ids, video_ids = to_scores(table)
        report = both_directions(
            scores, text_ids, video_ids, self.topk, self.ties
        )
        counts = f'{scores.shape[0]} texts, {scores.shape[1]} videos'
        left_out = (self.dataset_meta or {}).get('left_out')
        if left_out is not None:
            counts += f'; left out: {left_out}'
        print_log(f'{one_line(report)}  ({counts})', 'current')
        print_log(f'{one_line(report, "v2t_")}  ({counts})', 'current')
        return report

    def evaluate(self, size: int) -> dict[str, float]:
        """Collect the rows of all ranks and evaluate them.

        Each rank computes the same numbers, so none has to be sent.

        Args:
            size: Number of rows of the whole test set; rows beyond it are
                padding of the sampler.

        Returns:
            The metrics, with the prefix in their names.

        Raises:
            ValueError: No rank has a row, or a score is not finite.
        """
        table = collect(self.results, size)
        self.results.clear()
        report = self.compute_metrics([table])
        return {f'{self.prefix}/{name}': v for name, v in report.items()}


def one_line(report: dict[str, float], prefix: str = '') -> str:
    """One direction of a report as text.

    Args:
        report: Names and values in both directions.
        prefix: Empty for text to video, ``v2t_`` for video to text.

    Returns:
        For example ``t2v  R@1 48.0  R@5 73.0  R@10 82.9  MdR 2.0  MnR 13.1``.
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
