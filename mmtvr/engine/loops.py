"""Validation and test loops that compare all texts with all videos."""

import time
import zlib
from collections.abc import Iterator, Sequence, Sized
from pathlib import Path
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.dist import all_reduce, get_comm_device, get_dist_info
from mmengine.evaluator import Evaluator
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner, TestLoop, ValLoop
from mmengine.runner.amp import autocast
from torch import nn
from torch.utils.data import DataLoader, Sampler

from mmtvr.distributed.gather import gather_rows
from mmtvr.distributed.phase import LONG, phase
from mmtvr.engine.features import (
    FeatureStore,
    Gallery,
    TextBatch,
    dump_features,
    score_in_blocks,
)
from mmtvr.errors import SetupError
from mmtvr.registry import LOOPS


class WholeBatchSampler(Sampler[int]):
    """Give each process every R-th batch of the one and only order.

    Batches hold the same samples for any number of processes, hence the same
    rounding errors and the same numbers to the last digit. Nothing is padded
    or dropped: a process may get fewer batches than another, or none.

    Args:
        dataset: The test set.
        batch_size: Batch size of the loader that this sampler serves.
        seed: Not used; mmengine gives it to every sampler.
    """

    def __init__(
        self, dataset: Sized, batch_size: int, seed: int | None = None
    ) -> None:
        self.size = len(dataset)
        self.batch_size = batch_size
        self.rank, self.world_size = get_dist_info()

    def __iter__(self) -> Iterator[int]:
        """Yield the sample numbers of this process."""
        step = self.batch_size * self.world_size
        for start in range(self.rank * self.batch_size, self.size, step):
            yield from range(start, min(start + self.batch_size, self.size))

    def __len__(self) -> int:
        """Return the number of samples of this process."""
        return sum(1 for _ in self)


def in_whole_batches(dataloader: DataLoader | dict) -> DataLoader | dict:
    """Replace mmengine's plain sampler by :class:`WholeBatchSampler`.

    Args:
        dataloader: What a loop gets. A built loader, or a config with another
            sampler than an unshuffled ``DefaultSampler``, stays as it is.

    Returns:
        A config with the sampler replaced, or the argument.
    """
    if not isinstance(dataloader, dict) or dataloader.get('batch_sampler'):
        return dataloader
    sampler = dataloader.get('sampler') or {}
    kind = str(sampler.get('type', '')).rpartition('.')[2]
    if kind != 'DefaultSampler' or sampler.get('shuffle', True):
        return dataloader
    batch_size = dataloader['batch_size']
    return {
        **dataloader,
        'sampler': dict(type=WholeBatchSampler, batch_size=batch_size),
    }


def check_same_everywhere(dataset: Any) -> None:
    """Check that all processes have the same test set.

    They may not where machines miss different files, or where one of them
    found a file unreadable.

    Args:
        dataset: The test set of this process; ``left_out_ids`` of its meta
            information, if there, are the videos that it left out.

    Raises:
        SetupError: In every process, if two differ.
    """
    left_out = getattr(dataset, 'metainfo', {}).get('left_out_ids', ())
    state = [len(dataset), zlib.crc32(repr(list(left_out)).encode())]
    states = gather_rows(torch.tensor([state], device=get_comm_device()))
    if len(states.unique(dim=0)) > 1:
        raise SetupError(
            'the processes have different test sets, of '
            f'{", ".join(str(size) for size in states[:, 0].tolist())} '
            'samples: files are missing or unreadable for some of them only'
        )


class Progress:
    """Log done, total and time left, not more often than every interval.

    Args:
        what: What is counted, in the plural: ``scored texts``.
        total: How many there are.
        interval: Seconds between two lines; short work logs none.
    """

    def __init__(self, what: str, total: int, interval: float = 10.0) -> None:
        self.what = what
        self.total = total
        self.interval = interval
        self.done = 0
        self.start = self.last = time.monotonic()

    def advance(self, count: int) -> None:
        """Count work as done.

        Args:
            count: How many more are done.
        """
        self.done += count
        phase.enter(f'at {self.done} of {self.total} {self.what}', LONG)
        now = time.monotonic()
        if now - self.last < self.interval or self.done >= self.total:
            return
        self.last = now
        left = (now - self.start) / self.done * (self.total - self.done)
        print_log(
            f'{self.what}: {self.done} of {self.total}, {left:.0f} s left',
            'current',
        )


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
            ``.npz``; see :func:`mmtvr.engine.features.dump_features`.

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
        phase.enter('comparing all texts with all videos', LONG)
        self.sizes = self.score()
        phase.enter('computing metrics', LONG)
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
