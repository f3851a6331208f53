"""The learning rate over a run, from the length of the run."""

import math
from typing import Any

from mmengine.optim import _ParamScheduler
from mmengine.optim.scheduler.lr_scheduler import LRSchedulerMixin

from mmtvr.errors import SetupError
from mmtvr.registry import PARAM_SCHEDULERS

INF = int(1e9)


@PARAM_SCHEDULERS.register_module()
class WarmupCosineLR(LRSchedulerMixin, _ParamScheduler):
    """A linear warm-up, then a cosine to zero at the end of the run.

    The runner gives the length, so ``train_cfg.max_epochs`` is the only place
    that says how long a run is. Each step has the rates of mmengine's
    ``LinearLR`` followed by ``CosineAnnealingLR``.

    Args:
        optimizer: The optimiser or its wrapper, given by the runner.
        end (int): Steps of the run, given by the runner.
        warmup (float): Share of the run that the rate rises, in [0, 1).
        start_factor (float): Factor on the rate at the first step, in (0, 1].
        **kwargs: Other arguments of mmengine's schedulers.

    Raises:
        ValueError: If a share or a factor is out of its range.

    Example:
        >>> param_scheduler = dict(
        ...     type='mmtvr.WarmupCosineLR',
        ...     warmup=0.1,
        ...     convert_to_iter_based=True)
    """

    def __init__(
        self,
        optimizer: Any,
        end: int = INF,
        warmup: float = 0.1,
        start_factor: float = 0.01,
        **kwargs: Any,
    ) -> None:
        if not 0 <= warmup < 1:
            raise ValueError(f'warmup must be in [0, 1), got {warmup}')
        if not 0 < start_factor <= 1:
            raise ValueError(
                f'start_factor must be in (0, 1], got {start_factor}'
            )
        self.warmup_steps = int(warmup * end)
        self.start_factor = start_factor
        super().__init__(optimizer, end=end, **kwargs)

    @classmethod
    def build_iter_from_epoch(
        cls,
        *args: Any,
        end: int = INF,
        by_epoch: bool = True,
        epoch_length: int = 1,
        **kwargs: Any,
    ) -> 'WarmupCosineLR':
        """Count steps in place of epochs, as mmengine asks schedulers to."""
        return cls(*args, end=end * epoch_length, by_epoch=False, **kwargs)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint.

        Raises:
            SetupError: It was written with another scheduler, as in versions
                whose recipes had ``LinearLR`` and ``CosineAnnealingLR``.
        """
        if 'warmup_steps' not in state_dict:
            raise SetupError(
                'the checkpoint was written with another param_scheduler than '
                'mmtvr.WarmupCosineLR: resume with the config that is in its '
                'work_dir, or start from its weights by load_from'
            )
        super().load_state_dict(state_dict)

    def _get_value(self) -> list[float]:
        factor = self._factor(self.last_step)
        return [base * factor for base in self.base_values]

    def _factor(self, step: int) -> float:
        if step < self.warmup_steps:
            done = step / max(1, self.warmup_steps - 1)
            return self.start_factor + (1 - self.start_factor) * done
        done = (step - self.warmup_steps) / (self.end - self.warmup_steps)
        return (1 + math.cos(math.pi * done)) / 2
