"""Validation and test loops that compare all texts with all videos."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.dist import all_reduce
from mmengine.evaluator import Evaluator
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner, TestLoop, ValLoop
from mmengine.runner.amp import autocast
from torch import nn
from torch.utils.data import DataLoader

from mmtvr.engine.feature_dump import dump_features
from mmtvr.engine.feature_store import FeatureStore, Gallery, TextBatch
from mmtvr.engine.progress import Progress
from mmtvr.engine.scoring import score_in_blocks
from mmtvr.engine.whole_batches import (
    check_same_everywhere,
    in_whole_batches,
)
from mmtvr.processes import LONG, activity
from mmtvr.registry import LOOPS


class RetrievalMixin:
    """Encode every video and caption once, then score all pairs.

    The model predicts data samples with ``text_features`` and
    ``video_features``, and compares them with ``similarity(text, video)``.
    The evaluator gets one dict per text: ``scores`` (V,) float32,
    ``text_video_id``, ``video_ids`` (V,), ``text`` and ``video_names``.

    Each process scores the captions that it encoded, in blocks that do not
    depend on the number of processes, always in float32.

    Args:
        runner: The runner.
        dataloader: Loader of the test set or its config. A plain sampler is
            replaced by one that deals out whole batches.
        evaluator: The evaluator or its config.
        fp16: Encode under autocast. Scoring stays in float32.
        block_megabytes: Memory budget of one block of scores; bounds the
            word-by-frame tables that a head makes.
        feature_file: Where to write the pooled features, a path that ends in
            ``.npz``; see :func:`mmtvr.engine.feature_dump.dump_features`.

    Raises:
        ValueError: If ``feature_file`` has another ending.
    """

    stage: str

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict,
        evaluator: Evaluator | dict | list,
        fp16: bool = False,
        block_megabytes: float = 512,
        feature_file: str | None = None,
    ) -> None:
        if feature_file is not None and not feature_file.endswith('.npz'):
            raise ValueError(
                f'feature_file must end in .npz, got {feature_file}'
            )
        super().__init__(runner, in_whole_batches(dataloader), evaluator, fp16)
        self.block_megabytes = block_megabytes
        self.feature_file = feature_file
        self.store = FeatureStore()
        self.sizes: tuple[int, int] | None = None

    def run(self) -> dict[str, float]:
        """Evaluate the whole test set.

        Returns:
            The metrics of the evaluator.

        Raises:
            SetupError: If the processes have different test sets.
        """
        check_same_everywhere(self.dataloader.dataset)
        runner, stage = self.runner, self.stage
        runner.call_hook(f'before_{stage}')
        runner.call_hook(f'before_{stage}_epoch')
        runner.model.eval()
        self.store = FeatureStore()
        for index, batch in enumerate(self.dataloader):
            self.run_iter(index, batch)
        activity.note('comparing all texts with all videos', LONG)
        self.sizes = self.score()
        activity.note('computing metrics', LONG)
        self.store = FeatureStore()
        metrics = self.evaluator.evaluate(self.sizes[0])
        runner.call_hook(f'after_{stage}_epoch', metrics=metrics)
        runner.call_hook(f'after_{stage}')
        return metrics

    @torch.no_grad()
    def run_iter(self, idx: int, data_batch: Any) -> None:
        """Encode one batch and keep its features.

        Args:
            idx: Number of the batch.
            data_batch: What the loader yields.
        """
        where = dict(batch_idx=idx, data_batch=data_batch)
        self.runner.call_hook(f'before_{self.stage}_iter', **where)
        step = getattr(self.runner.model, f'{self.stage}_step')
        with autocast(enabled=self.fp16):
            outputs = step(data_batch)
        self.store.add(outputs)
        self.runner.call_hook(
            f'after_{self.stage}_iter', **where, outputs=outputs
        )

    @torch.no_grad()
    def score(self) -> tuple[int, int]:
        """Score the captions of this process against all videos.

        Returns:
            Numbers of texts and of videos of the whole test set.
        """
        gallery, keep = self.store.gather()
        batches = [self._kept(b, keep) for b in self.store.text_batches]
        if self.feature_file is not None:
            dump_features(Path(self.feature_file), batches, gallery)
        count = torch.tensor(sum(len(batch.texts) for batch in batches))
        progress = Progress('scored texts', int(count))
        for batch in batches:
            self._score_batch(batch, gallery, progress)
        cut = torch.tensor(self.store.cut_captions).long()[keep].sum()
        all_reduce(count)
        all_reduce(cut)
        if cut:
            self.runner.logger.info(
                f'{cut} of {count} captions were longer than the text encoder '
                'was given words for, and were cut'
            )
        return int(count), len(gallery.names)

    @staticmethod
    def _kept(batch: TextBatch, keep: torch.Tensor) -> TextBatch:
        chosen = keep[batch.row]
        if chosen.all():
            return batch
        return TextBatch(
            batch.features.select(chosen),
            batch.video_ids[chosen],
            batch.row[chosen],
            [t for t, k in zip(batch.texts, chosen, strict=True) if k],
        )

    def _score_batch(
        self, batch: TextBatch, gallery: Gallery, progress: Progress
    ) -> None:
        model = bare_model(self.runner.model)
        device = next((p.device for p in model.parameters()), get_device())
        for top, rows in score_in_blocks(
            model.similarity,
            batch.features,
            gallery.features,
            self.block_megabytes,
            torch.device(device),
        ):
            self.evaluator.process(self._samples(batch, gallery, top, rows))
            progress.advance(len(rows))

    @staticmethod
    def _samples(
        batch: TextBatch, gallery: Gallery, top: int, rows: torch.Tensor
    ) -> Sequence[dict]:
        return [
            dict(
                scores=row,
                text_video_id=int(batch.video_ids[top + i]),
                video_ids=gallery.video_ids,
                text=batch.texts[top + i],
                video_names=gallery.names,
            )
            for i, row in enumerate(rows)
        ]


def bare_model(model: nn.Module) -> nn.Module:
    """The model itself, out of a wrapper such as DDP.

    Args:
        model: A model or a wrapped one.

    Returns:
        The model that has ``similarity``.
    """
    return model.module if is_model_wrapper(model) else model


@LOOPS.register_module()
class RetrievalValLoop(RetrievalMixin, ValLoop):
    """Validation by comparing all texts with all videos.

    Example:
        >>> val_cfg = dict(type='mmtvr.RetrievalValLoop')
        >>> val_evaluator = dict(type='mmtvr.TextVideoRecall')
    """

    stage = 'val'


@LOOPS.register_module()
class RetrievalTestLoop(RetrievalMixin, TestLoop):
    """Test by comparing all texts with all videos.

    Example:
        >>> test_cfg = dict(type='mmtvr.RetrievalTestLoop')
        >>> test_evaluator = dict(type='mmtvr.TextVideoRecall')
    """

    stage = 'test'
