"""Keep a NaN or infinite loss from reaching the weights."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any, Literal

import torch
from mmengine.dist import (
    all_gather_object,
    all_reduce,
    get_comm_device,
    get_rank,
    get_world_size,
    is_main_process,
)
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from mmtvr.engine.hooks.logging import data_samples_of
from mmtvr.engine.loops import unwrap_model
from mmtvr.errors import NonFiniteError, SetupError
from mmtvr.files import write_atomically
from mmtvr.registry import HOOKS

MAX_RECORDS = 100
MAX_NAMES = 50
META_KEYS = ('filename', 'video_id', 'sample_idx', 'text')


@HOOKS.register_module()
class NonFiniteHook(Hook):
    """Stop, or skip the step, where the loss is NaN or infinite.

    Before the optimiser steps, the loss of every process and the gradients
    are looked at, and all processes act alike. What led to it is written to
    ``nonfinite/iter_N.json`` in the work folder: terms of the loss, file
    names, ids and captions of the batch, and norms of the gradients. The
    weights stay as they were.

    In mixed precision, gradients that overflow with a finite loss are left to
    the loss scaler, which skips such steps and lowers the scale. That ends
    the run when the scale falls below ``min_loss_scale``.

    Works with any model that returns a dict of losses and any single
    optimiser wrapper, with clipping and accumulation.

    Args:
        on_nonfinite (str): ``'stop'`` or ``'skip'``.
        max_skips (int): So many steps skipped in a row stop the run.
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
        self.steps_taken = self.skipped = self.skipped_in_a_row = 0
        # Terms and data samples of each batch since the last step.
        self.batches: list[tuple[dict[str, Tensor], list]] = []
        self.samples: list = []

    def before_train(self, runner: Runner) -> None:
        """Guard the steps of the optimiser wrapper."""
        wrapper = runner.optim_wrapper
        if not isinstance(wrapper, OptimWrapper):
            runner.logger.warning(
                'mmtvr.NonFiniteHook guards one optimiser wrapper, not a '
                f'{type(wrapper).__name__}; NaN losses will not be noticed'
            )
            return
        self.runner = runner
        unwrap_model(runner.model).register_forward_hook(self._keep_terms)
        wrapper.optimizer.register_step_post_hook(self._count_step)
        take_step = wrapper.step

        # mmengine has no hook between backward and step; its schedulers look
        # for the counter that they put on the step.
        @wraps(take_step)
        def step(**kwargs: Any) -> None:
            self._step(take_step, **kwargs)

        wrapper.step = step

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        """Remember the samples of the batch, without their frames."""
        self.samples = data_samples_of(data_batch)

    def _keep_terms(self, model: nn.Module, _: tuple, outputs: Any) -> None:
        if model.training and isinstance(outputs, dict):
            self.batches.append((_scalars(outputs), self.samples))

    def _count_step(self, *_: Any) -> None:
        self.steps_taken += 1

    def _step(self, take_step: Callable, **kwargs: Any) -> None:
        before = self.steps_taken
        try:
            problem = self._find_problem()
            if problem is None:
                take_step(**kwargs)
            else:
                self._stop_or_skip(problem)
        finally:
            self.batches = []
        if self.steps_taken > before:
            self.skipped_in_a_row = 0
            return
        # Skipped here, or by the loss scaler.
        self.skipped_in_a_row += 1
        scaler = getattr(self.runner.optim_wrapper, 'loss_scaler', None)
        scale = None if scaler is None else scaler.get_scale()
        if scale is not None and (
            scale < self.min_loss_scale
            or self.skipped_in_a_row >= self.max_skips
        ):
            raise NonFiniteError(
                f'in iteration {self.runner.iter + 1} the gradients were not '
                f'finite for the {self.skipped_in_a_row}th time in a row; the '
                f'scale of mixed precision fell to {scale:g}. No such step '
                'was taken. Train without --amp, or with a lower rate.'
            )

    def _find_problem(self) -> str | None:
        """What is not finite on any process; read back once per step."""
        losses = [
            value.float()
            for terms, _ in self.batches
            for name, value in terms.items()
            if 'loss' in name
        ]
        loss = torch.stack(losses) if losses else torch.zeros(1)
        wrapper = self.runner.optim_wrapper
        gradients = [
            parameter.grad
            for group in wrapper.optimizer.param_groups
            for parameter in group['params']
            if parameter.grad is not None
        ]
        norm = loss.new_zeros(())
        # Scaled gradients are the loss scaler's to check.
        if gradients and not hasattr(wrapper, 'loss_scaler'):
            norm = get_total_norm(gradients).to(loss)
        finite = torch.isfinite(loss).all(), torch.isfinite(norm)
        flags = (~torch.stack(finite)).float()
        if get_world_size() > 1:
            flags = flags.to(get_comm_device())
            all_reduce(flags, 'max')
        bad_loss, bad_norm = flags.tolist()
        if bad_loss:
            return 'the loss'
        return 'the norm of the gradients' if bad_norm else None

    def _stop_or_skip(self, problem: str) -> None:
        path = Path(self.runner.work_dir, 'nonfinite')
        path = path / f'iter_{self.runner.iter + 1}.json'
        record = self._record(problem)
        if is_main_process() and self.skipped < MAX_RECORDS:
            content = json.dumps(
                _to_json(record), indent=1, ensure_ascii=False
            )
            write_atomically(path, content.encode(errors='surrogateescape'))
        self.skipped += 1
        finding = f'{_summarise(record)}; see {path}'
        if not self.skips or self.skipped_in_a_row + 1 >= self.max_skips:
            many = f', the {self.max_skips}th in a row' if self.skips else ''
            raise NonFiniteError(
                f'{finding}. The step was not taken{many}. '
                'mmtvr.NonFiniteHook with '
                "on_nonfinite='skip' skips such steps instead."
            )
        self.runner.logger.warning(
            f'{finding}; step skipped ({self.skipped} so far)'
        )
        self.runner.message_hub.update_scalar(
            'train/skipped_steps', self.skipped
        )

    def _record(self, problem: str) -> dict[str, Any]:
        runner = self.runner
        own = dict(
            rank=get_rank(),
            batches=[
                dict(
                    terms={name: each.item() for name, each in terms.items()},
                    samples=[
                        {k: each.get(k) for k in META_KEYS if k in each}
                        for each in samples
                    ],
                )
                for terms, samples in self.batches
            ],
        )
        scaler = getattr(runner.optim_wrapper, 'loss_scaler', None)
        model = unwrap_model(runner.model)
        return dict(
            what=problem,
            iteration=runner.iter + 1,
            epoch=runner.epoch + 1,
            learning_rates=runner.optim_wrapper.get_lr(),
            loss_scale=scaler.get_scale() if scaler else 1.0,
            gradients=_describe_gradients(model.named_parameters()),
            processes=all_gather_object(own),
        )


def _scalars(outputs: Mapping[str, Any]) -> dict[str, Tensor]:
    """Terms of a loss by name; those of a list, which add up, numbered."""
    terms = {}
    for name, value in outputs.items():
        many = isinstance(value, list | tuple)
        for number, each in enumerate(value if many else [value]):
            if isinstance(each, Tensor) and each.is_floating_point():
                key = f'{name}.{number}' if many else name
                terms[key] = each.detach().mean()
    return terms


def _describe_gradients(
    named: Iterable[tuple[str, nn.Parameter]],
) -> dict[str, Any]:
    """Norms of the parts of a model, and names of what is not finite."""
    squares: dict[str, float] = defaultdict(float)
    gradients, weights = [], []
    for name, parameter in named:
        if not torch.isfinite(parameter).all():
            weights.append(name)
        if parameter.grad is None:
            continue
        gradient = parameter.grad.detach().double()
        part = '.'.join(name.split('.')[:2])
        squares[part] += gradient.square().sum().item()
        if not torch.isfinite(gradient).all():
            gradients.append(name)
    return dict(
        norms={part: total**0.5 for part, total in squares.items()},
        not_finite=_shorten(gradients),
        weights_not_finite=_shorten(weights),
    )


def _shorten(names: list[str]) -> list[str]:
    more = len(names) - MAX_NAMES
    return names[:MAX_NAMES] + ([f'and {more} more'] if more > 0 else [])


def _to_json(value: Any) -> Any:
    """Plain values; NaN and infinity, which JSON lacks, become strings."""
    if isinstance(value, Mapping):
        return {str(key): _to_json(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_to_json(each) for each in value]
    if isinstance(value, float) and not abs(value) < float('inf'):
        return str(value)
    return value if isinstance(value, int | float | str) else str(value)


def _summarise(record: Mapping[str, Any]) -> str:
    bad = [
        f'{name} is {value} on process {process["rank"]}'
        for process in record['processes']
        for batch in process['batches']
        for name, value in batch['terms'].items()
        if 'loss' in name and not abs(value) < float('inf')
    ]
    what = ', '.join(bad) or f'{record["what"]} is not finite'
    return (
        f'in iteration {record["iteration"]} (epoch {record["epoch"]}) {what}'
    )
