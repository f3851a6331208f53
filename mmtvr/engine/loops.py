"""Training that resumes anywhere, and evaluation of all pairs."""

import copy
import logging
import time
import warnings
import zlib
from collections.abc import Iterator, Sized
from pathlib import Path
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.dist import (
    all_reduce,
    get_comm_device,
    get_dist_info,
    get_rank,
    get_world_size,
    is_main_process,
)
from mmengine.evaluator import Evaluator
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import EpochBasedTrainLoop, Runner, TestLoop, ValLoop
from mmengine.runner.amp import autocast
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler

from mmtvr.distributed.gather import gather_rows
from mmtvr.distributed.phase import LONG, phase
from mmtvr.engine.features import (
    FeatureStore,
    Gallery,
    TextBatch,
    score_in_blocks,
    write_features,
)
from mmtvr.engine.fine_grained import load_fine_grained, score_captions
from mmtvr.errors import SetupError
from mmtvr.evaluation.fine_grained import (
    evaluate_fine_grained,
    metrics_of,
    to_text,
    write_fine_grained_report,
)
from mmtvr.randomness import place_seed, seed_generators
from mmtvr.registry import LOOPS

#: In the message hub: the number of epochs that no validation is due for.
VALIDATED = 'mmtvr_validated'


def unwrap_model(model: nn.Module) -> nn.Module:
    """The model itself, out of a wrapper such as DDP."""
    return model.module if is_model_wrapper(model) else model


@LOOPS.register_module()
class ResumableTrainLoop(EpochBasedTrainLoop):
    """Epoch-based training that a restart does not change.

    Iterations, hooks and validations are those of mmengine's loop. Resumed
    from a checkpoint of :class:`AtomicCheckpointHook` it continues with the
    batch that comes next, without loading those before, and first validates
    the epoch whose validation was interrupted. On a CPU, weights and
    metrics are then those of a run that was never stopped, bit for bit.

    Resumed with another batch size, number of processes or of samples, it
    goes on from the beginning of the epoch, and schedules are brought to where
    they are after as many epochs of the new layout.

    The samples of the loader are wrapped in :class:`SeededDataset` and its
    batches in :class:`ResumableBatchSampler`; before each step the
    generators of this process are set from the seed of the run, the number of
    the iteration and the rank. So what a step draws does not depend on the
    steps before it, and differs between processes.

    Args:
        runner (Runner): The runner.
        dataloader (dict | DataLoader): Config of the training loader. One
            that is built already stays as it is, and an epoch that was
            interrupted in it is restarted.
        **kwargs: ``max_epochs``, ``val_begin``, ``val_interval`` and
            ``dynamic_intervals`` of mmengine's ``EpochBasedTrainLoop``.

    Example:
        >>> train_cfg = dict(type='mmtvr.ResumableTrainLoop', max_epochs=5)
    """

    def __init__(
        self, runner: Runner, dataloader: dict | DataLoader, **kwargs: Any
    ) -> None:
        if isinstance(dataloader, dict):
            dataloader = _with_resumable_batches(dataloader)
        super().__init__(runner, dataloader, **kwargs)
        if self.max_epochs < 1:
            raise SetupError(
                f'train_cfg.max_epochs is {self.max_epochs}: a training has '
                'at least 1 epoch; `mmtvr test` tests without one'
            )
        sampler = self.dataloader.batch_sampler
        self.batches = sampler if hasattr(sampler, 'set_place') else None
        self._set_seed(runner.seed)
        self._done = 0
        # Before the runner builds them.
        self._schedules = copy.deepcopy(runner.param_schedulers)
        self._old_layout: dict[str, int] | None = None

    def run(self) -> nn.Module:
        """Train to the end, and return the model.

        Raises:
            SetupError: The run was resumed with another layout, and its
                schedules cannot be built for that.
        """
        if self._old_layout is not None:
            self._fit_schedules(self._old_layout)
        self.runner.call_hook('before_train')
        if VALIDATED in self.runner.message_hub.runtime_info:
            self._validate_if_due()
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            self._validate_if_due()
        self.runner.call_hook('after_train')
        return self.runner.model

    def run_epoch(self) -> None:
        """Train one epoch, or what is left of it."""
        self.runner.message_hub.update_info(VALIDATED, self._epoch)
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        if self.batches is not None:
            self.batches.set_place(self._epoch, self._done)
        for idx, data_batch in enumerate(self.dataloader, self._done):
            self.run_iter(idx, data_batch)
        self._done = 0
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def run_iter(self, idx: int, data_batch: Any) -> None:
        """Train on batch ``idx`` of the epoch, counted from 0."""
        self._done = idx + 1
        # Ranks draw differently: dropout is not to repeat across them.
        seed = place_seed(self._seed, self._iter) + get_rank()
        seed_generators(seed % 2**64)
        super().run_iter(idx, data_batch)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must hold beside weights, counts and schedules.

        Plain numbers and tensors. With several processes this is a collective
        operation.
        """
        return dict(
            seed=self._seed,
            sampler_seed=getattr(self._sampler, 'seed', None),
            batches_done=self._done,
            layout=self._layout(),
            gradients=_accumulated_gradients(unwrap_model(self.runner.model)),
        )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from what :meth:`state_dict` gave."""
        self._set_seed(state['seed'])
        if state['sampler_seed'] is not None:
            self._sampler.seed = state['sampler_seed']
        old, new = state['layout'], self._layout()
        same = self.batches is not None and old == new
        in_mid_epoch = state['batches_done'] and not same
        if in_mid_epoch or old['batches'] != new['batches']:
            self._old_layout = old
        if in_mid_epoch:
            print_log(
                'The checkpoint was written in the middle of an epoch of '
                f'{old}, now an epoch is {new}: the epoch is restarted.',
                'current',
                logging.WARNING,
            )
            return
        self._done = state['batches_done']
        parameters = dict(unwrap_model(self.runner.model).named_parameters())
        for name, gradient in state['gradients'].items():
            parameters[name].grad = gradient.to(parameters[name].device)

    def _fit_schedules(self, old: dict[str, int]) -> None:
        """Bring the iteration and all schedules to this epoch's beginning."""
        runner, new = self.runner, self._layout()
        self._iter = self._epoch * len(self.dataloader)
        runner.message_hub.update_info('iter', self._iter)
        if not runner.param_schedulers:
            return
        # mmengine has no name for what is a config of one or of several.
        raw = self._schedules
        raw = (
            raw.values()
            if isinstance(raw, dict) and 'type' not in raw
            else [raw]
        )
        flat = [
            e
            for each in raw
            for e in (each if isinstance(each, list) else [each])
        ]
        if not all(isinstance(each, dict) for each in flat):
            raise SetupError(
                f'the run was stopped with {old} and is resumed with {new}: '
                'its schedules were given ready made and cannot be built for '
                'another number of batches. Resume with the old layout'
            )
        for group in _groups_of(runner.optim_wrapper):
            for name in [n for n in group if n.startswith('initial_')]:
                group[name.removeprefix('initial_')] = group[name]
        with warnings.catch_warnings():
            # That no step of the optimizer lies between two of a schedule.
            warnings.simplefilter('ignore')
            built = runner.build_param_scheduler(
                copy.deepcopy(self._schedules)
            )
            runner.param_schedulers = built
            every = built.values() if isinstance(built, dict) else [built]
            for schedules in every:
                _replay(schedules, self._epoch, len(self.dataloader))
        print_log(
            f'The run was stopped with {old} and goes on with {new}: '
            'schedules are those of the new layout, at the beginning of epoch '
            f'{self._epoch + 1}.',
            'current',
            logging.WARNING,
        )

    def _set_seed(self, seed: int) -> None:
        self._seed = seed
        if self.batches is not None:
            self.batches.seed = seed

    @property
    def _sampler(self) -> Any:
        owner = self.dataloader if self.batches is None else self.batches
        return owner.sampler

    def _layout(self) -> dict[str, int]:
        """What makes the batches of an epoch, in the order of the seed."""
        sizes = self.batches or self.dataloader
        return dict(
            samples=len(self.dataloader.dataset),
            batches=len(sizes),
            batch_size=sizes.batch_size,
            processes=get_world_size(),
        )

    def _validate_if_due(self) -> None:
        self._decide_current_val_interval()
        loop, hub = self.runner.val_loop, self.runner.message_hub
        due = self._epoch >= max(self.val_begin, 1) and (
            self._epoch % self.val_interval == 0
            or self._epoch == self._max_epochs
        )
        if loop and due and hub.get_info(VALIDATED, 0) < self._epoch:
            # Checkpoints written during the validation say that it was.
            hub.update_info(VALIDATED, self._epoch)
            seed_generators(place_seed(self._seed, self._epoch))
            loop.run()


def _groups_of(optim_wrapper: Any) -> Iterator[dict]:
    wrappers = getattr(optim_wrapper, 'optim_wrappers', None)
    for each in [optim_wrapper] if wrappers is None else wrappers.values():
        yield from each.optimizer.param_groups


def _replay(schedules: list, epochs: int, batches: int) -> None:
    """Step schedules as that many epochs of training do."""
    # One that waits for a metric has no place that epochs alone decide.
    schedules = [each for each in schedules if not hasattr(each, 'monitor')]
    for _ in range(epochs):
        for _ in range(batches):
            for each in schedules:
                if not each.by_epoch:
                    each.step()
        for each in schedules:
            if each.by_epoch:
                each.step()


def _with_resumable_batches(dataloader: dict) -> dict:
    """Seed the samples of a loader, and let it begin in mid-epoch."""
    cfg = dict(dataloader)
    cfg['dataset'] = dict(type='mmtvr.SeededDataset', dataset=cfg['dataset'])
    cfg['batch_sampler'] = dict(
        type='mmtvr.ResumableBatchSampler',
        drop_last=cfg.pop('drop_last', False),
        batch_sampler=cfg.pop('batch_sampler', None),
    )
    return cfg


def _accumulated_gradients(model: nn.Module) -> dict[str, Tensor]:
    """Gradients that accumulate for a step that is still to come, by name.

    None right after a step. The mean over all processes, which take their
    mean at the step anyway.
    """
    gradients = {
        name: parameter.grad.clone()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }
    for gradient in gradients.values():
        all_reduce(gradient, 'mean')
    return {name: gradient.cpu() for name, gradient in gradients.items()}


class BatchShardingSampler(Sampler[int]):
    """Give each process every R-th batch of the one and only order.

    Batches hold the same samples for any number of processes, hence the same
    rounding errors and the same numbers to the last digit. Nothing is padded
    or dropped: a process may get fewer batches than another, or none.

    ``batch_size`` is that of the loader; mmengine passes ``seed`` to every
    sampler.
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


def with_batch_sharding(dataloader: DataLoader | dict) -> DataLoader | dict:
    """Replace mmengine's plain sampler by :class:`BatchShardingSampler`.

    A built loader, or a config with another sampler than an unshuffled
    ``DefaultSampler``, is returned as it is.
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
        'sampler': dict(type=BatchShardingSampler, batch_size=batch_size),
    }


def check_same_dataset(dataset: Any) -> None:
    """Check that all processes have the same test set.

    They may not where machines miss different files, or where one of them
    found a file unreadable: ``left_out_ids`` of the meta information.

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
        """Count so many more as done."""
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
            replaced by :class:`BatchShardingSampler`.
        evaluator: The evaluator or its config.
        fp16: Encode under autocast. Scoring stays in float32.
        block_megabytes: Memory budget of one block of scores; bounds the
            word-by-frame tables that a head makes.
        feature_file: Where to write the pooled features, a path that ends in
            ``.npz``; see :func:`mmtvr.engine.features.write_features`.
        fine_grained: A JSON file with partial captions and twins of the
            videos, see :mod:`mmtvr.evaluation.fine_grained`, or ``'dataset'``
            for those that the dataset makes. Their measures are logged, join
            the metrics as ``fine_grained/NAME``, and are written to
            ``fine_grained.json`` and ``.txt`` beside the log.

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
        fine_grained: str | None = None,
    ) -> None:
        if feature_file is not None and not feature_file.endswith('.npz'):
            raise ValueError(
                f'feature_file must end in .npz, got {feature_file}'
            )
        super().__init__(
            runner, with_batch_sharding(dataloader), evaluator, fp16
        )
        self.block_megabytes = block_megabytes
        self.feature_file = feature_file
        self.fine_grained = fine_grained
        self.store = FeatureStore()
        self.sizes: tuple[int, int] | None = None
        self.fine_grained_metrics: dict[str, float] = {}

    def run(self) -> dict[str, float]:
        """Evaluate the whole test set; returns the metrics.

        Raises:
            SetupError: If the processes have different test sets.
        """
        check_same_dataset(self.dataloader.dataset)
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
        metrics |= self.fine_grained_metrics
        runner.call_hook(f'after_{stage}_epoch', metrics=metrics)
        runner.call_hook(f'after_{stage}')
        return metrics

    @torch.no_grad()
    def run_iter(self, idx: int, data_batch: Any) -> None:
        """Encode one batch and keep its features."""
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

        Returns the numbers of texts and of videos of the whole test set.
        """
        gallery, keep = self.store.gather()
        batches = [
            batch.select(keep[batch.row]) for batch in self.store.text_batches
        ]
        if self.feature_file is not None:
            write_features(Path(self.feature_file), batches, gallery)
        if self.fine_grained is not None:
            self._score_fine_grained(gallery)
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

    def _score_fine_grained(self, gallery: Gallery) -> None:
        dataset = self.dataloader.dataset
        captions = load_fine_grained(self.fine_grained, dataset)
        scores = score_captions(
            unwrap_model(self.runner.model),
            captions,
            dataset.pipeline,
            gallery,
            self.block_megabytes,
            self._device(),
        )
        report = evaluate_fine_grained(captions, scores, gallery.video_ids)
        self.runner.logger.info(f'Fine-grained\n{to_text(report)}')
        self.fine_grained_metrics = {
            f'fine_grained/{name}': value
            for name, value in metrics_of(report).items()
        }
        if is_main_process():
            write_fine_grained_report(Path(self.runner.log_dir), report)

    def _device(self) -> torch.device:
        model = unwrap_model(self.runner.model)
        found = next((p.device for p in model.parameters()), get_device())
        return torch.device(found)

    def _score_batch(
        self, batch: TextBatch, gallery: Gallery, progress: Progress
    ) -> None:
        model = unwrap_model(self.runner.model)
        for top, rows in score_in_blocks(
            model.similarity,
            batch.features,
            gallery.features,
            self.block_megabytes,
            self._device(),
        ):
            samples = [
                dict(
                    scores=row,
                    text_video_id=int(batch.video_ids[text]),
                    video_ids=gallery.video_ids,
                    text=batch.texts[text],
                    video_names=gallery.names,
                )
                for text, row in enumerate(rows, top)
            ]
            self.evaluator.process(samples)
            progress.advance(len(rows))


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
