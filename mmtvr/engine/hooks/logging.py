"""What training logs: speed and memory as it goes, results at the end."""

import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import timedelta
from shlex import quote
from typing import Any

import torch
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from mmengine.runner import Runner

from mmtvr.datasets.samplers import SeededDataset
from mmtvr.registry import HOOKS

#: Keys of the message hub: the best and the last validation, and the
#: unreadable videos that training met (see ``UnreadableVideosHook``).
BEST, LAST = 'mmtvr_best', 'mmtvr_last'
UNREADABLE = 'mmtvr_unreadable_videos'
# The first of them also start workers and fill caches.
STEPS_OF_ESTIMATE = 20
DIRECTIONS = (('', 'text to video'), ('v2t_', 'video to text'))


def count_samples(data_batch: Any) -> int:
    """Number of samples of a batch, whatever collate function made it."""
    if isinstance(data_batch, dict):
        data_batch = data_batch.get('data_samples') or data_batch['inputs']
    return len(data_batch)


def data_samples_of(data_batch: Any) -> list:
    """The data samples of a batch; empty where it has none."""
    if isinstance(data_batch, Mapping):
        return list(data_batch.get('data_samples') or [])
    if not isinstance(data_batch, Sequence):
        return []
    return [
        each['data_samples']
        for each in data_batch
        if isinstance(each, Mapping) and 'data_samples' in each
    ]


def peak_host_megabytes() -> float | None:
    """Largest resident memory of this process so far, without its workers.

    In mebibytes; None where the system does not say (Windows).
    """
    if sys.platform == 'win32':
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == 'darwin' else 2**10)


def _describe_memory() -> str:
    """Peak memory of this process, and of its GPU if it has one."""
    host = peak_host_megabytes()
    parts = [] if host is None else [f'{host / 1024:.1f} GiB of memory']
    if torch.cuda.is_available():
        peak = torch.cuda.max_memory_allocated() / 2**30
        parts.append(f'{peak:.1f} GiB of its GPU')
    return f'this process needs {" and ".join(parts) or "unknown memory"}'


@HOOKS.register_module()
class TrainingStatsHook(Hook):
    """Log samples per second of all processes, and host memory.

    After the first steps it logs, once, about how long the rest will take
    and the memory that is needed.

    The log processor prints ``samples_per_second`` and ``host_memory_mb``
    (peak of this process) beside mmengine's ``time``, ``data_time`` and, on a
    GPU, ``memory``. The rate counts everything between two iterations:
    loading, the step itself and the hooks.

    Args:
        window (int): Iterations over which the rate is taken.
    """

    priority = 'NORMAL'

    def __init__(self, window: int = 10) -> None:
        self.marks: deque[tuple[float, int]] = deque(maxlen=window + 1)
        self.steps = 0

    def before_train(self, runner: Runner) -> None:
        """Count steps from here, also of a run that is resumed."""
        self.steps = 0

    def before_train_epoch(self, runner: Runner) -> None:
        """Start the clock again, so that validation is not counted."""
        self.marks.clear()
        self.marks.append((time.perf_counter(), 0))

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        """Record the rate of the last iterations and the peak memory."""
        self.marks.append((time.perf_counter(), count_samples(data_batch)))
        hub = runner.message_hub
        seconds = self.marks[-1][0] - self.marks[0][0]
        samples = sum(count for _, count in list(self.marks)[1:])
        hub.update_scalar(
            'train/samples_per_second',
            samples * get_world_size() / max(seconds, 1e-9),
        )
        memory = peak_host_megabytes()
        if memory is not None:
            hub.update_scalar('train/host_memory_mb', memory)
        self.steps += 1
        left = runner.max_iters - runner.iter - 1
        if self.steps == STEPS_OF_ESTIMATE and left > 0:
            step = seconds / max(len(self.marks) - 1, 1)
            runner.logger.info(
                f'After {self.steps} steps: about '
                f'{timedelta(seconds=round(left * step))} to go '
                f'({step:.2g} s a step, without validation); '
                f'{_describe_memory()}'
            )


@HOOKS.register_module()
class ResultTableHook(Hook):
    """Log a table with the best and the last validation, or with the test.

    Beside the metrics of both directions it says how much data there was,
    where the best checkpoint lies and how long it took.

    Args:
        key (str): Metric that decides which epoch was best, higher is
            better.
    """

    # Before checkpoints are written, so that they hold what it keeps.
    priority = 'LOW'

    def __init__(self, key: str = 'retrieval/R1') -> None:
        self.key = key
        self.prefix = key.rpartition('/')[0] + '/' if '/' in key else ''
        self.start = time.monotonic()

    def before_train(self, runner: Runner) -> None:
        """Start the clock and log what will be done."""
        self.start = time.monotonic()
        runner.logger.info(
            f'Training: {describe_plan(runner)}; settings, log and '
            f'checkpoints are in {runner.work_dir}'
        )

    def before_test(self, runner: Runner) -> None:
        """Start the clock."""
        self.start = time.monotonic()

    def after_val_epoch(
        self, runner: Runner, metrics: dict[str, float] | None = None
    ) -> None:
        """Keep the last and the best validation in the message hub."""
        if not metrics or self.key not in metrics:
            return
        last = (f'epoch {runner.epoch}', dict(metrics))
        runner.message_hub.update_info(LAST, last)
        best = runner.message_hub.get_info(BEST)
        if best is None or metrics[self.key] > best[1][self.key]:
            runner.message_hub.update_info(BEST, last)

    def after_train(self, runner: Runner) -> None:
        """Log the table of the training run."""
        hub = runner.message_hub
        dataset = runner.train_dataloader.dataset
        facts = {'trained on': _describe_samples(dataset)}
        results = label_results(hub)
        if results and runner.val_loop is not None:
            facts['validated on'] = _describe_data(runner.val_loop)
        unreadable = hub.get_info(UNREADABLE)
        if unreadable:
            facts['unreadable'] = f'{len(unreadable)} videos'
        facts['best checkpoint'] = hub.get_info('best_ckpt')
        facts['last checkpoint'] = hub.get_info('last_ckpt')
        if runner.cfg.filename:
            # Its config has what the command line changed.
            facts['next'] = f'mmtvr test {quote(runner.work_dir)}'
        self._log(runner, 'Training results', results, facts)

    def after_test_epoch(
        self, runner: Runner, metrics: dict[str, float] | None = None
    ) -> None:
        """Log the table of the test."""
        results = [('test', metrics)] if metrics else []
        facts = {
            'tested on': _describe_data(runner.test_loop),
            'checkpoint': runner._load_from,
        }
        self._log(runner, 'Test results', results, facts)

    def _log(
        self,
        runner: Runner,
        title: str,
        results: Sequence[tuple[str, Mapping[str, float]]],
        facts: dict[str, Any],
    ) -> None:
        seconds = int(time.monotonic() - self.start)
        facts['time taken'] = timedelta(seconds=seconds)
        facts = {
            name: each for name, each in facts.items() if each is not None
        }
        width = max(map(len, facts))
        lines = [title]
        if results:
            lines += [aligned(metric_rows(results, self.prefix)), '']
        lines += [
            f'{name.ljust(width)}  {each}' for name, each in facts.items()
        ]
        runner.logger.info('\n'.join(lines))


def label_results(hub: MessageHub) -> list[tuple[str, dict[str, float]]]:
    """The best and the last validation; nothing before there is one."""
    found = [('best', hub.get_info(BEST)), ('last', hub.get_info(LAST))]
    return [(f'{name} ({info[0]})', info[1]) for name, info in found if info]


def describe_plan(runner: Runner) -> str:
    """What a training will do: data, steps left, processes, validations."""
    loader, world_size = runner.train_dataloader, get_world_size()
    size = loader.batch_size or loader.batch_sampler.batch_size
    ranks = 'one process' if world_size == 1 else f'{world_size} processes'
    left = runner.max_iters - runner.iter
    plan = (
        f'{_describe_samples(loader.dataset)}, {left:,} of '
        f'{runner.max_iters:,} steps of {size * world_size} samples on {ranks}'
    )
    if runner.val_loop is None:
        return f'{plan}, no validation'
    validation = getattr(runner.val_loop, 'dataloader', None)
    if validation is not None:
        interval = runner.train_loop.val_interval
        plan += f', validated on {_describe_samples(validation.dataset)} ' + (
            'each epoch' if interval == 1 else f'every {interval} epochs'
        )
    return plan


def _describe_samples(dataset: Any) -> str:
    if isinstance(dataset, SeededDataset):
        dataset = dataset.dataset
    counts = getattr(dataset, 'metainfo', {}).get('counts')
    if counts is None:
        return f'{len(dataset):,} samples'
    return f'{counts["videos"]:,} videos with {counts["captions"]:,} captions'


def metric_rows(
    results: Sequence[tuple[str, Mapping[str, float]]], prefix: str
) -> list[list[str]]:
    """Both directions of labelled evaluations as rows of cells.

    Args:
        results: Label and metrics of each evaluation, at least one.
        prefix: Prefix of the metric names to show: ``retrieval/``.

    Returns:
        A heading and one row per direction and evaluation.
    """
    names = [
        name.removeprefix(prefix)
        for name in results[0][1]
        if name.startswith(prefix)
    ]
    names = [name for name in names if not name.startswith('v2t_')]
    rows = [['', *names]]
    for start, direction in DIRECTIONS:
        for label, metrics in results:
            values = [metrics.get(prefix + start + name) for name in names]
            if None not in values:
                cells = [f'{value:.2f}' for value in values]
                rows.append([f'{direction}, {label}', *cells])
    return rows


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as text: the first column left aligned, others right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return '\n'.join(
        '  '.join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(
                zip(row, widths, strict=True)
            )
        )
        for row in rows
    )


def _describe_data(loop: Any) -> str:
    """Size of the test set of a loop, and what the dataset left out."""
    sizes = getattr(loop, 'sizes', None)
    dataset = getattr(getattr(loop, 'dataloader', None), 'dataset', ())
    if sizes is None:
        size = f'{len(dataset)} samples'
    else:
        size = '{} texts, {} videos'.format(*sizes)
    left_out = getattr(dataset, 'metainfo', {}).get('left_out')
    return size if left_out is None else f'{size}; left out: {left_out}'
