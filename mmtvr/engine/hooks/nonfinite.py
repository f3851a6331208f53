"""Keep a NaN or infinite loss from reaching the weights."""

import json
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
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

from mmtvr.engine.loops import bare_model
from mmtvr.errors import NonFiniteError, SetupError
from mmtvr.files import write_atomically
from mmtvr.registry import HOOKS

NAMES_SHOWN = 50
PART_DEPTH = 2
META_KEYS = ('filename', 'video_id', 'sample_idx', 'text')


def samples_of(data_batch: Any) -> list:
    """The data samples of a batch, so that its frames need not be kept.

    Args:
        data_batch: A batch as a loader yields it.

    Returns:
        Its data samples; empty where it has none.
    """
    if isinstance(data_batch, Mapping):
        return list(data_batch.get('data_samples') or [])
    if not isinstance(data_batch, Sequence):
        return []
    return [
        each['data_samples']
        for each in data_batch
        if isinstance(each, Mapping) and 'data_samples' in each
    ]


def describe_samples(samples: Sequence[Any]) -> list[dict]:
    """What data samples tell of themselves.

    Args:
        samples: Data samples of mmengine.

    Returns:
        File name, ids and captions of each, as far as it has them.
    """
    found = []
    for sample in samples:
        values = {key: sample.get(key) for key in META_KEYS}
        found.append({k: v for k, v in values.items() if v is not None})
    return found


def loss_terms(outputs: Any) -> dict[str, Tensor]:
    """The scalars of a training step.

    Args:
        outputs: What a model returns in mode ``'loss'``; a value may be a
            list of tensors, which mmengine adds up.

    Returns:
        Detached values by name, those of lists numbered.
    """
    terms = {}
    for name, value in outputs.items():
        many = isinstance(value, list | tuple)
        for number, each in enumerate(value if many else [value]):
            if isinstance(each, Tensor) and each.is_floating_point():
                key = f'{name}.{number}' if many else name
                terms[key] = each.detach().mean()
    return terms


def describe_gradients(
    named: Iterable[tuple[str, nn.Parameter]],
) -> dict[str, Any]:
    """Norms of the gradients, part by part.

    Args:
        named: Names and parameters of the model.

    Returns:
        ``norms`` of the parts of the model, ``not_finite``: the names of the
        parameters whose gradient has NaN or infinite values, and
        ``weights_not_finite``: those that have such values themselves.
    """
    squares: dict[str, float] = defaultdict(float)
    gradients, weights = [], []
    for name, parameter in named:
        if not torch.isfinite(parameter).all():
            weights.append(name)
        if parameter.grad is None:
            continue
        gradient = parameter.grad.detach().double()
        part = '.'.join(name.split('.')[:PART_DEPTH])
        squares[part] += gradient.square().sum().item()
        if not torch.isfinite(gradient).all():
            gradients.append(name)
    return dict(
        norms={part: total**0.5 for part, total in squares.items()},
        not_finite=_shorten(gradients),
        weights_not_finite=_shorten(weights),
    )


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write a record as JSON, in which NaN and infinity are strings.

    Args:
        path: The file.
        record: Numbers, strings, lists and dicts.
    """
    write_atomically(
        path, json.dumps(_plain(record), indent=1, ensure_ascii=False)
    )


def _shorten(names: list[str]) -> list[str]:
    more = len(names) - NAMES_SHOWN
    return names[:NAMES_SHOWN] + ([f'and {more} more'] if more > 0 else [])


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not abs(value) < float('inf'):
        return str(value)
    return value if isinstance(value, int | float | str) else str(value)


Terms = Sequence[Mapping[str, Tensor]]


class StepGuard:
    """The step of an optimiser wrapper, taken only with finite numbers.

    One number per process is compared and read back, once per step.

    Args:
        wrapper: The wrapper; its ``step`` is taken as it is now.
        terms: Gives the terms of all losses that went into the gradients.
        found: Called with what is not finite; raises, or lets the step be
            left out.
    """

    def __init__(
        self,
        wrapper: OptimWrapper,
        terms: Callable[[], Terms],
        found: Callable[[str], None],
    ) -> None:
        self.wrapper = wrapper
        self.unguarded_step = wrapper.step
        self.terms = terms
        self.found = found
        self.steps = 0
        wrapper.optimizer.register_step_post_hook(self._count)

    def step(self, **kwargs: Any) -> bool:
        """Take the step, or not.

        Args:
            **kwargs: Arguments of the step of the wrapper.

        Returns:
            Whether it was taken; a loss scaler too may leave it out.
        """
        what = self._what_is_not_finite()
        if what is not None:
            self.found(what)
            return False
        before = self.steps
        self.unguarded_step(**kwargs)
        return self.steps > before

    def scale(self) -> float | None:
        """The scale of mixed precision, None without a loss scaler."""
        scaler = getattr(self.wrapper, 'loss_scaler', None)
        return None if scaler is None else scaler.get_scale()

    def _what_is_not_finite(self) -> str | None:
        flags = torch.stack(
            [~finite_losses(self.terms()).all(), self._is_gradient_bad()]
        ).float()
        if get_world_size() > 1:
            flags = flags.to(get_comm_device())
            all_reduce(flags, 'max')
        loss, gradient = flags.tolist()
        if loss:
            return 'the loss'
        return 'the norm of the gradients' if gradient else None

    def _is_gradient_bad(self) -> Tensor:
        """Of the gradients as they are; scaled ones are the scaler's."""
        gradients = [
            parameter.grad
            for group in self.wrapper.optimizer.param_groups
            for parameter in group['params']
            if parameter.grad is not None
        ]
        device = finite_losses(self.terms()).device
        if hasattr(self.wrapper, 'loss_scaler') or not gradients:
            return torch.zeros((), dtype=torch.bool, device=device)
        return ~torch.isfinite(get_total_norm(gradients)).to(device)

    def _count(self, *arguments: Any) -> None:
        self.steps += 1


def finite_losses(terms: Terms) -> Tensor:
    """Which terms of losses are finite.

    Args:
        terms: Scalars of each batch; names with ``loss`` are terms of the
            loss, as mmengine has it.

    Returns:
        Shape (number of terms,), bool; empty if there are none.
    """
    losses = [
        value.float()
        for batch in terms
        for name, value in batch.items()
        if 'loss' in name
    ]
    if not losses:
        return torch.ones(0, dtype=torch.bool)
    return torch.isfinite(torch.stack(losses))


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
