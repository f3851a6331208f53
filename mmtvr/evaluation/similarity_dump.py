"""Write the scores of all texts against all videos to a file."""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dist import all_gather_object, is_main_process
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from mmtvr.array_files import write_arrays
from mmtvr.evaluation.result_rows import (
    ResultRows,
    collect,
    dealt_order,
    from_scores,
)
from mmtvr.registry import METRICS


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

        Args:
            data_batch: Not used.
            data_samples: Dicts with ``scores``, ``text_video_id``,
                ``video_ids``, ``text`` and ``video_names``.
        """
        self.results.append(from_scores(data_samples))
        self.texts += [sample['text'] for sample in data_samples]
        self.videos = data_samples[0]['video_names']

    def compute_metrics(self, results: list[ResultRows]) -> dict[str, float]:
        """Write the file.

        Args:
            results: One table with all rows.

        Returns:
            Nothing to report.
        """
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
        """Collect the rows of all ranks; the first one writes them.

        Args:
            size: Number of rows of the whole test set.

        Returns:
            Nothing to report.
        """
        order = dealt_order(len(self.texts), size)
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
