"""Faults of one process out of several, as a hook and a transform.

``inject_process_faults.py`` puts them into a config; the environment variable
``MMTVR_FAULT`` says which fault happens, to process 1.
"""

import os
import re
import signal
import sys
import time
from typing import Any

from mmcv.transforms import BaseTransform
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, TRANSFORMS
from mmengine.runner import Runner

VICTIM = '1'
FAULT = os.environ.get('MMTVR_FAULT', '').replace('val-', '')
IN_VALIDATION = os.environ.get('MMTVR_FAULT', '').startswith('val-')


def is_victim() -> bool:
    """Whether the fault happens to this process."""
    return os.environ.get('RANK') == VICTIM


def strike(fault: str) -> None:
    """Let a fault happen in this process."""
    if fault in ('kill', 'stop', 'term'):
        os.kill(os.getpid(), getattr(signal, f'SIG{fault.upper()}'))
        time.sleep(1)
    elif fault == 'exit':
        os._exit(3)
    elif fault == 'exception':
        raise ValueError('a made-up error')
    elif fault == 'loop':
        while True:
            pass
    elif fault == 'locked-loop':
        # A search that never ends and keeps the interpreter's lock.
        re.match(r'(a+)+$', 'a' * 100 + 'b')
    elif fault == 'sleep':
        time.sleep(10**6)


@HOOKS.register_module()
class FaultHook(Hook):
    """Strike in the third training step, or in the validation behind it."""

    priority = 'LOWEST'

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        """Strike in training."""
        if runner.iter == 2:
            print('reached iteration 3', file=sys.stderr, flush=True)
            if is_victim() and not IN_VALIDATION:
                strike(FAULT)

    def before_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        """Strike in validation."""
        if is_victim() and IN_VALIDATION:
            strike(FAULT)


@TRANSFORMS.register_module()
class FaultTransform(BaseTransform):
    """Block or kill the loading worker of one process as step 3 runs."""

    def __init__(self) -> None:
        self.count = 0

    def transform(self, results: dict) -> dict:
        """Count samples, and strike."""
        self.count += 1
        if self.count == 22 and is_victim():
            if FAULT == 'blocked-loader':
                strike('locked-loop')
            if FAULT == 'killed-loader':
                strike('kill')
        return results
