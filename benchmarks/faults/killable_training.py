"""Trainings to be killed: one alone, others forked from this process."""

import contextlib
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import mmtvr.datasets
import mmtvr.engine
import mmtvr.evaluation
import mmtvr.models  # noqa: F401
from mmtvr import files as atomic_file

ROOT = Path(__file__).resolve().parents[2]
TRAIN = str(ROOT / 'tools/train.py')
CONFIG = ROOT / 'configs/tpmcl_moving_shapes.py'
OPTIONS = {
    'train_cfg.max_epochs': 2,
    'train_cfg.val_interval': 1,
    'train_dataloader.batch_size': 4,
    'train_dataloader.num_workers': 1,
    'train_dataloader.dataset.num_videos': 32,
    'val_dataloader.num_workers': 1,
    'val_dataloader.dataset.num_videos': 6,
    'default_hooks.checkpoint.every_n_iters': 2,
    'default_hooks.logger.interval': 1,
}
BEGUN = 'Epoch(train)'
SECONDS_PER_RUN = 300
SLOW_PIECES, SLOW_SECONDS = 20, 0.02


def write_slowly(path: Path, content: bytes) -> None:
    """Stand for :func:`mmtvr.files.write_through` on a slow disk."""
    step = len(content) // SLOW_PIECES + 1
    with open(path, 'wb', buffering=0) as file:
        for start in range(0, len(content), step):
            file.write(content[start : start + step])
            time.sleep(SLOW_SECONDS)
        os.fsync(file.fileno())


def arguments(folder: Path, work: Path) -> list[str]:
    """Command line of a training, or of going on with it."""
    data = {
        f'{name}_dataloader.dataset.data_root': folder / 'data'
        for name in ('train', 'val')
    }
    options = [f'{k}={v}' for k, v in {**OPTIONS, **data}.items()]
    where = ['--work-dir', str(work), '--resume']
    return [TRAIN, str(CONFIG), *where, '--cfg-options', *options]


def train_alone(folder: Path, work: Path) -> float:
    """Train in a process of its own; returns the seconds without imports."""
    command = [sys.executable, *arguments(folder, work)]
    with log_of(work).open('w') as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait_to_begin(process, work, 0)
        begun = time.monotonic()
        if process.wait(SECONDS_PER_RUN):
            raise RuntimeError(f'training failed:\n{logged(work)[-2000:]}')
        return time.monotonic() - begun
    finally:
        process.kill()


class Forked:
    """A training in a fork, with the interface of a ``Popen``."""

    def __init__(self, folder: Path, work: Path, slow: bool) -> None:
        self.work, self.slow = work, slow
        self.arguments = arguments(folder, work)
        # Windows has no such context.
        context = multiprocessing.get_context('fork')
        self.process = context.Process(target=self._train)
        self.process.start()
        self.pid = self.process.pid

    def _train(self) -> None:
        os.setsid()
        log = os.open(
            log_of(self.work), os.O_WRONLY | os.O_APPEND | os.O_CREAT
        )
        os.dup2(log, 1)
        os.dup2(log, 2)
        if self.slow:
            atomic_file.write_through = write_slowly
        sys.argv = self.arguments
        runpy.run_path(TRAIN, run_name='__main__')

    def poll(self) -> int | None:
        """Exit status, None while it runs."""
        return self.process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end.

        Args:
            timeout: Seconds; None for any time.

        Returns:
            The exit status.

        Raises:
            TimeoutError: It is still running.
        """
        self.process.join(timeout)
        if self.poll() is None:
            raise TimeoutError(f'not done after {timeout} s, see the log')
        return self.poll()

    def kill(self) -> None:
        """Kill it, with the processes that it started, if it still runs."""
        if self.poll() is None:
            # At the very start it has no group of its own yet.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self.process.kill()
        self.process.join()

    def __enter__(self) -> 'Forked':
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def log_of(work: Path) -> Path:
    """Where the processes of a training write what they print."""
    return work.with_suffix('.log')


def logged(work: Path) -> str:
    """What all processes of a training have logged."""
    log = log_of(work)
    return log.read_text() if log.exists() else ''


def wait_to_begin(process: Any, work: Path, seen: int) -> None:
    """Wait until a process trains, or ends."""
    end = time.monotonic() + SECONDS_PER_RUN
    while process.poll() is None and BEGUN not in logged(work)[seen:]:
        if time.monotonic() > end:
            raise TimeoutError(f'training does not begin, see {work}.log')
        time.sleep(0.01)


def wait_to_write(process: Any, work: Path, which: int) -> None:
    """Wait until a checkpoint is half written, or the training has ended."""
    pattern = f'*.pth{atomic_file.PARTIAL}'
    for number in range(which + 1):
        while number and process.poll() is None and any(work.glob(pattern)):
            time.sleep(0.001)
        while process.poll() is None and not any(work.glob(pattern)):
            time.sleep(0.001)
