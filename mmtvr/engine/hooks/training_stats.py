"""Log how fast training runs and how much memory it takes."""

import sys
import time
from collections import deque
from typing import Any

from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmtvr.registry import HOOKS


def peak_host_megabytes() -> float | None:
    """Largest resident memory of this process so far, without its workers.

    Returns:
        Mebibytes, or None where the system does not tell (Windows).
    """
    if sys.platform == 'win32':
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == 'darwin' else 2**10)


def count_samples(data_batch: Any) -> int:
    """Number of samples of a batch as mmengine's collate functions make it.

    Args:
        data_batch: A dict with ``data_samples`` or ``inputs``, or a sequence
            of samples.

    Returns:
        The number of samples.
    """
    if isinstance(data_batch, dict):
        data_batch = data_batch.get('data_samples') or data_batch['inputs']
    return len(data_batch)


@HOOKS.register_module()
class TrainingStatsHook(Hook):
    """Log samples per second of all processes, and host memory.

    The log processor prints ``samples_per_second`` and ``host_memory_mb``
    (peak of this process) beside mmengine's ``time``, ``data_time`` and, on a
    GPU, ``memory``. The rate counts everything between two iterations:
    loading, the step itself and the hooks.

    Args:
        window (int): Iterations over which the rate is taken. Defaults to 10.
    """

    priority = 'NORMAL'

    def __init__(self, window: int = 10) -> None:
        self.window = window
        self.marks: deque[tuple[float, int]] = deque(maxlen=window + 1)

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
