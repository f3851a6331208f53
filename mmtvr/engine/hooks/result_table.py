"""Say at the end of training and of testing what was reached."""

import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmtvr.engine.hooks.unreadable_videos import FOUND
from mmtvr.registry import HOOKS

BEST, LAST = 'mmtvr_best', 'mmtvr_last'
DIRECTIONS = (('', 'text to video'), ('v2t_', 'video to text'))


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as a plain table.

    Args:
        rows: Each with the same number of cells.

    Returns:
        One line per row; the first column left aligned, the others right.
    """
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


def metric_rows(
    results: Sequence[tuple[str, Mapping[str, float]]], prefix: str
) -> list[list[str]]:
    """Both directions of several evaluations as cells.

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


@HOOKS.register_module()
class ResultTableHook(Hook):
    """Log a table with the best and the last validation, or with the test.

    Beside the metrics of both directions it says how much data there was,
    where the best checkpoint lies and how long it took.

    Args:
        key (str): Metric that decides which epoch was best, higher is
            better. Defaults to ``retrieval/R1``.
    """

    # Before checkpoints are written, so that they hold what it keeps.
    priority = 'LOW'

    def __init__(self, key: str = 'retrieval/R1') -> None:
        self.key = key
        self.prefix = key.rpartition('/')[0] + '/' if '/' in key else ''
        self.start = time.monotonic()

    def before_train(self, runner: Runner) -> None:
        """Start the clock."""
        self.start = time.monotonic()

    def before_test(self, runner: Runner) -> None:
        """Start the clock."""
        self.start = time.monotonic()

    def after_val_epoch(
        self, runner: Runner, metrics: dict[str, float] | None = None
    ) -> None:
        """Remember the last and the best validation.

        Both are kept in the message hub, hence in checkpoints.
        """
        if not metrics or self.key not in metrics:
            return
        label = f'epoch {runner.epoch}'
        last = (label, dict(metrics))
        runner.message_hub.update_info(LAST, last)
        best = runner.message_hub.get_info(BEST)
        if best is None or metrics[self.key] > best[1][self.key]:
            runner.message_hub.update_info(BEST, last)

    def after_train(self, runner: Runner) -> None:
        """Log the table of the training run."""
        samples = len(runner.train_dataloader.dataset)
        lines = [('trained on', f'{samples} samples')]
        results = []
        last = runner.message_hub.get_info(LAST)
        if last is not None:
            label, metrics = runner.message_hub.get_info(BEST)
            results = [(f'best ({label})', metrics)]
            results.append((f'last ({last[0]})', last[1]))
            if runner.val_loop is not None:
                data = describe_data(runner.val_loop)
                lines.append(('validated on', data))
        unreadable = runner.message_hub.get_info(FOUND)
        if unreadable:
            lines.append(('unreadable', f'{len(unreadable)} videos'))
        best = runner.message_hub.get_info('best_ckpt')
        written = runner.message_hub.get_info('last_ckpt')
        lines += [('best checkpoint', best), ('last checkpoint', written)]
        self._log(runner, 'training', results, lines)

    def after_test_epoch(
        self, runner: Runner, metrics: dict[str, float] | None = None
    ) -> None:
        """Log the table of the test."""
        results = [('test', metrics)] if metrics else []
        lines = [
            ('tested on', describe_data(runner.test_loop)),
            ('checkpoint', runner._load_from),
        ]
        self._log(runner, 'the test', results, lines)

    def _log(
        self,
        runner: Runner,
        what: str,
        results: Sequence[tuple[str, Mapping[str, float]]],
        lines: list[tuple[str, Any]],
    ) -> None:
        seconds = int(time.monotonic() - self.start)
        lines.append(('time taken', timedelta(seconds=seconds)))
        lines = [line for line in lines if line[1] is not None]
        width = max(len(name) for name, _ in lines)
        parts = [f'What {what} reached']
        if results:
            parts += [aligned(metric_rows(results, self.prefix)), '']
        parts += [f'{name.ljust(width)}  {value}' for name, value in lines]
        runner.logger.info('\n'.join(parts))


def describe_data(loop: Any) -> str:
    """Size of the test set of a loop.

    Args:
        loop: A retrieval loop that has run, or any other loop.

    Returns:
        Texts and videos if the loop knows them, else samples; and what the
        dataset left out.
    """
    sizes = getattr(loop, 'sizes', None)
    dataset = getattr(getattr(loop, 'dataloader', None), 'dataset', ())
    if sizes is None:
        size = f'{len(dataset)} samples'
    else:
        size = '{} texts, {} videos'.format(*sizes)
    left_out = getattr(dataset, 'metainfo', {}).get('left_out')
    return size if left_out is None else f'{size}; left out: {left_out}'
