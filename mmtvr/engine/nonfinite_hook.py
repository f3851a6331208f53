"""Keep a NaN or infinite loss from reaching the weights."""

import logging
from functools import wraps
from pathlib import Path
from typing import Any, Literal

from mmengine.dist import all_gather_object, get_rank, is_main_process
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch import Tensor, nn

from mmtvr.engine.loops import bare_model
from mmtvr.engine.nonfinite_record import (
    describe_gradients,
    describe_samples,
    loss_terms,
    samples_of,
    write_record,
)
from mmtvr.engine.step_guard import StepGuard
from mmtvr.errors import NonFiniteError, SetupError
from mmtvr.registry import HOOKS

MAX_RECORDS = 100


@HOOKS.register_module()
class NonFiniteHook(Hook):
    """Stop, or leave a step out, where the loss is NaN or infinite.

    Before the optimiser steps, the loss of every process and the gradients
    are looked at, and all processes act alike. What led to it is written to
    ``nonfinite/iter_N.json`` in the work folder: terms of the loss, file
    names, ids and captions of the batch, and norms of the gradients. The
    weights stay as they were.

    In mixed precision, gradients that overflow with a finite loss are the
    loss scaler's business, which leaves such steps out and lowers the scale.
    That ends the run when the scale falls below ``min_loss_scale``.

    Works with any model that returns a dict of losses and any single
    optimiser wrapper, with clipping and accumulation.

    Args:
        on_nonfinite (str): ``'stop'`` or ``'skip'``.
        max_skips (int): So many steps left out in a row stop the run.
        min_loss_scale (float): Smallest scale of mixed precision.

    Raises:
        SetupError: An argument has another value.

    Example:
        >>> custom_hooks = [
        ...     dict(type='mmtvr.NonFiniteHook', on_nonfinite='skip')]
    """

    priority = 'VERY_LOW'

    def __init__(
        self,
        on_nonfinite: Literal['stop', 'skip'] = 'stop',
        max_skips: int = 20,
        min_loss_scale: float = 1.0,
    ) -> None:
        if on_nonfinite not in ('stop', 'skip') or max_skips < 1:
            raise SetupError(
                "mmtvr.NonFiniteHook: on_nonfinite must be 'stop' or 'skip', "
                f'got {on_nonfinite!r}; max_skips at least 1, got {max_skips}'
            )
        self.skips = on_nonfinite == 'skip'
        self.max_skips = max_skips
        self.min_loss_scale = min_loss_scale
        self.skipped = self.skipped_in_a_row = 0
        # Terms and samples of each batch since the last step.
        self.terms: list[dict[str, Tensor]] = []
        self.samples: list[list] = []
        self.batch: list = []

    def before_train(self, runner: Runner) -> None:
        """Guard the steps of the optimiser wrapper."""
        wrapper = runner.optim_wrapper
        if not isinstance(wrapper, OptimWrapper):
            runner.logger.warning(
                'mmtvr.NonFiniteHook guards one optimiser wrapper, not a '
                f'{type(wrapper).__name__}; NaN losses will not be noticed'
            )
            return
        bare_model(runner.model).register_forward_hook(self._keep_terms)
        self.runner = runner
        self.guard = StepGuard(wrapper, lambda: self.terms, self._found)

        # mmengine has no hook between backward and step; its schedulers look
        # for the counter that they put on the step.
        @wraps(wrapper.step)
        def step(**kwargs: Any) -> None:
            self._step(**kwargs)

        wrapper.step = step

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        """Remember the batch."""
        self.batch = samples_of(data_batch)

    def _keep_terms(
        self, model: nn.Module, arguments: tuple, outputs: Any
    ) -> None:
        if model.training and isinstance(outputs, dict):
            self.terms.append(loss_terms(outputs))
            self.samples.append(self.batch)

    def _step(self, **kwargs: Any) -> None:
        try:
            took = self.guard.step(**kwargs)
        finally:
            self.terms, self.samples = [], []
        if took:
            self.skipped_in_a_row = 0
            return
        self.skipped_in_a_row += 1
        self._check_scaler()

    def _found(self, what: str) -> None:
        """Record a step that must not be taken; stop, unless it is skipped."""
        path = Path(self.runner.work_dir, 'nonfinite')
        path = path / f'iter_{self.runner.iter + 1}.json'
        record = self._record(what)
        if is_main_process() and self.skipped < MAX_RECORDS:
            write_record(path, record)
        self.skipped += 1
        finding = f'{self._say(record)}; see {path}'
        last = self.skipped_in_a_row + 1 >= self.max_skips
        if not self.skips or last:
            many = f', the {self.max_skips}th in a row' if self.skips else ''
            raise NonFiniteError(
                f'{finding}. The step was not taken{many}. '
                'mmtvr.NonFiniteHook with '
                "on_nonfinite='skip' goes on without such steps."
            )
        self.runner.logger.log(
            logging.WARNING,
            f'{finding}; step left out ({self.skipped} so far)',
        )
        self.runner.message_hub.update_scalar(
            'train/skipped_steps', self.skipped
        )

    def _record(self, what: str) -> dict[str, Any]:
        runner = self.runner
        own = dict(
            rank=get_rank(),
            batches=[
                dict(
                    terms={k: v.item() for k, v in terms.items()},
                    samples=describe_samples(samples),
                )
                for terms, samples in zip(
                    self.terms, self.samples, strict=True
                )
            ],
        )
        model = bare_model(runner.model)
        scaler = getattr(runner.optim_wrapper, 'loss_scaler', None)
        return dict(
            what=what,
            iteration=runner.iter + 1,
            epoch=runner.epoch + 1,
            learning_rates=runner.optim_wrapper.get_lr(),
            loss_scale=scaler.get_scale() if scaler else 1.0,
            gradients=describe_gradients(model.named_parameters()),
            processes=all_gather_object(own),
        )

    @staticmethod
    def _say(record: dict[str, Any]) -> str:
        bad = [
            f'{name} is {value} on process {process["rank"]}'
            for process in record['processes']
            for batch in process['batches']
            for name, value in batch['terms'].items()
            if 'loss' in name and not abs(value) < float('inf')
        ]
        what = ', '.join(bad) or f'{record["what"]} is not finite'
        return (
            f'in iteration {record["iteration"]} (epoch {record["epoch"]}) '
            f'{what}'
        )

    def _check_scaler(self) -> None:
        scale = self.guard.scale()
        if scale is None:
            return
        if scale >= self.min_loss_scale and (
            self.skipped_in_a_row < self.max_skips
        ):
            return
        raise NonFiniteError(
            f'in iteration {self.runner.iter + 1} the gradients were not '
            f'finite for the {self.skipped_in_a_row}th time in a row; the '
            f'scale of mixed precision fell to {scale:g}. No such step was '
            'taken. Train without --amp, or with a lower rate.'
        )
