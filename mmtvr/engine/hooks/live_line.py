"""One line on a terminal that says how far a training or a test is."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from tqdm import tqdm

# 79 columns with 10 of a bar, 4 digits of steps and an hour.
FORMAT = (
    '{desc} |{bar:10}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]'
)
# What the line and the results say shorter.
SHORTENED = ('Epoch(', 'Exp name:')


@contextmanager
def live_line(runner: Runner) -> Iterator[None]:
    """Show one line meanwhile, where the output goes to a terminal.

    The steps that mmengine logs then go to the log file alone; each epoch
    leaves a short line on the screen. Where the output goes to a file or a
    pipe, nothing is changed.

    Args:
        runner: What runs inside.
    """
    is_terminal = sys.stdout.isatty() and sys.stderr.isatty()
    if not is_terminal or not is_main_process():
        yield
        return
    hook = LiveLine()
    runner.register_hook(hook)
    # The handlers of files have another type.
    handlers = [
        each
        for each in runner.logger.handlers
        if type(each) is logging.StreamHandler
    ]
    streams = [handler.setStream(_AboveTheLine()) for handler in handlers]
    for handler in handlers:
        handler.addFilter(_is_not_shortened)
    try:
        yield
    finally:
        hook.close()
        for handler, stream in zip(handlers, streams, strict=True):
            handler.removeFilter(_is_not_shortened)
            handler.setStream(stream)


def _is_not_shortened(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(SHORTENED)


class _AboveTheLine:
    """A stream to stdout that leaves the line where it is, the last one."""

    def write(self, text: str) -> None:
        tqdm.write(text, end='')

    def flush(self) -> None:
        sys.stdout.flush()


class LiveLine(Hook):
    """Draw the line, see :func:`live_line`."""

    # The values of a step are in the message hub then.
    priority = 'VERY_LOW'

    def __init__(self) -> None:
        self.bar: tqdm | None = None
        self.name = ''

    def close(self) -> None:
        """Take the line away."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def _open(self, name: str, total: int, done: int = 0) -> None:
        self.close()
        self.name = name
        self.bar = tqdm(
            desc=name,
            total=total,
            initial=done,
            bar_format=FORMAT,
            dynamic_ncols=True,
            mininterval=0.5,
            leave=False,
        )

    def before_train(self, runner: Runner) -> None:
        """Draw it for all steps of the training."""
        self._open('Training', runner.max_iters, runner.iter)

    def before_train_epoch(self, runner: Runner) -> None:
        """Name the epoch."""
        self._rename(f'Epoch {runner.epoch + 1}/{runner.max_epochs}')

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        """Count a step."""
        if self.bar is None:
            return
        scalars = runner.message_hub.log_scalars
        parts = [
            f'{unit}{scalars[name].current():{form}}'
            for name, unit, form in (
                ('train/loss', 'loss ', '.3f'),
                ('train/samples_per_second', '', '.0f'),
            )
            if name in scalars
        ]
        if len(parts) > 1:
            parts[-1] += ' samples/s'
        self.bar.set_postfix_str(', '.join(parts), refresh=False)
        self.bar.update()

    def after_train_epoch(self, runner: Runner) -> None:
        """Leave a line on the screen with the means of the epoch."""
        steps = len(runner.train_dataloader)
        scalars = runner.message_hub.log_scalars
        means = [
            f'{name.removeprefix("train/").replace("loss_", "")} '
            f'{scalars[name].mean(steps):.3f}'
            for name in sorted(scalars)
            if name.startswith('train/loss')
        ]
        if means:
            tqdm.write(f'{self.name}  {"  ".join(means)}')

    def before_val_epoch(self, runner: Runner) -> None:
        """Say that a validation goes on."""
        if self.bar is None:
            self._open('Validating', len(runner.val_dataloader))
        else:
            self._rename('Validating')

    def after_val_epoch(
        self, runner: Runner, metrics: dict[str, float] | None = None
    ) -> None:
        """Say that it goes on with training."""
        self._rename('Training')

    def before_test_epoch(self, runner: Runner) -> None:
        """Draw it for all batches of the test."""
        self._open('Testing', len(runner.test_dataloader))

    def after_test_iter(
        self, runner: Runner, batch_idx: int, *args: Any, **kwargs: Any
    ) -> None:
        """Count a batch."""
        if self.bar is not None:
            self.bar.update()

    def after_test_epoch(
        self, runner: Runner, metrics: dict[str, float] | None = None
    ) -> None:
        """Take it away, before the results are printed."""
        self.close()

    def after_train(self, runner: Runner) -> None:
        """Take it away."""
        self.close()

    def _rename(self, name: str) -> None:
        self.name = name
        if self.bar is not None:
            self.bar.set_description_str(name)
