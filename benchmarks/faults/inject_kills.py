"""Kill training again and again, and compare its end with an unbroken run.

One run is left alone. Then the same training is started, killed by ``kill
-9`` at a random moment, gone on with by ``--resume`` and killed again, until
enough kills were made; whenever a training comes to its end, it is compared
bit for bit with the one left alone, and another one begins. Every third kill
hits the writing of a checkpoint, which is slowed down in the process to be
killed, and only there. The run left alone is a process of its own; the others
fork from this one, which has imported what they need.

    python -m benchmarks.faults.inject_kills --kills 50 --out kills.json
"""

import argparse
import contextlib
import itertools
import json
import multiprocessing
import os
import random
import re
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

import mmtvr.datasets
import mmtvr.engine
import mmtvr.evaluation
import mmtvr.models  # noqa: F401
from mmtvr import files
from mmtvr.checkpoints import read_checkpoint

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
LAST = 'epoch_2.pth'


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
            files.write_through = write_slowly
        sys.argv = self.arguments
        runpy.run_path(TRAIN, run_name='__main__')

    def poll(self) -> int | None:
        """Exit status, None while it runs."""
        return self.process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end."""
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
    pattern = f'*.pth{files.PARTIAL}'
    for number in range(which + 1):
        while number and process.poll() is None and any(work.glob(pattern)):
            time.sleep(0.001)
        while process.poll() is None and not any(work.glob(pattern)):
            time.sleep(0.001)


def differences(one: Path, other: Path) -> list[str]:
    """What is not the same, bit for bit, in two checkpoints."""
    first, second = read_parts(one), read_parts(other)
    return sorted(
        name
        for name in first.keys() | second.keys()
        if name not in first
        or name not in second
        or not same(first[name], second[name])
    )


def read_parts(path: Path) -> dict[str, Any]:
    """Everything of a checkpoint that is no clock, path or memory."""
    return dict(parts(read_checkpoint(path)))


def parts(checkpoint: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Weights, optimizer, schedules, metrics and losses of a checkpoint."""
    for name in ('state_dict', 'optimizer', 'param_schedulers'):
        yield from flat(checkpoint[name], name)
    hub = checkpoint['message_hub']
    for name, history in hub['log_scalars'].items():
        if not any(word in name for word in ('time', 'memory', 'per_second')):
            yield name, history['values']
    for name in ('best_score', 'mmtvr_best', 'mmtvr_last'):
        yield name, hub['runtime_info'].get(name)


def flat(node: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Tensors and values of nested dicts and lists by their places."""
    if isinstance(node, dict | list | tuple):
        pairs = node.items() if isinstance(node, dict) else enumerate(node)
        for key, value in pairs:
            yield from flat(value, f'{place}.{key}')
    else:
        yield place, node


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same in every bit."""
    if torch.is_tensor(one):
        return one.numpy().tobytes() == other.numpy().tobytes()
    return one == other


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--kills', type=int, default=50)
    parser.add_argument('--seed', type=int, default=0, help='of the moments')
    parser.add_argument('--out', type=Path, help='JSON file of all kills')
    return parser.parse_args()


def train_and_kill(
    folder: Path,
    work: Path,
    seconds: float,
    writing: bool,
    draw: random.Random,
) -> dict[str, Any] | None:
    """Train, and kill at a moment."""
    seen = len(logged(work))
    with Forked(folder, work, writing) as process:
        wait_to_begin(process, work, seen)
        if writing:
            wait_to_write(process, work, draw.randrange(3))
            time.sleep(draw.uniform(0, SLOW_PIECES * SLOW_SECONDS))
        else:
            time.sleep(draw.uniform(0, seconds / 3))
        if process.poll() is not None:
            if process.poll():
                raise RuntimeError(f'training failed, see {work}.log')
            return None
        process.kill()
    places = re.findall(r'Epoch\((\w+)\) +\[(\d+)\]\[ *(\d+)/', logged(work))
    half = [path.name for path in work.glob(f'*{files.PARTIAL}')]
    return dict(writing=writing, after=' '.join(places[-1]), half_written=half)


def kill_often(folder: Path, kills: int, seed: int) -> dict[str, Any]:
    """Make all kills and compare each training that came to its end."""
    draw = random.Random(seed)
    begun = time.monotonic()
    alone = folder / 'alone'
    seconds = train_alone(folder, alone)
    made: list[dict] = []
    ends: list[list[str]] = []
    for number in itertools.count():
        work = folder / f'killed_{number}'
        while len(made) < kills:
            writing = len(made) % 3 == 2
            kill = train_and_kill(folder, work, seconds, writing, draw)
            if kill is None:
                break
            made.append({'training': number, **kill})
            print(f'kill {len(made)}: {made[-1]}', flush=True)
        else:
            with Forked(folder, work, False) as process:
                if process.wait(SECONDS_PER_RUN):
                    raise RuntimeError(f'failed:\n{logged(work)[-2000:]}')
        ends.append(differences(alone / LAST, work / LAST))
        print(f'training {number}: {len(ends[-1])} differences', flush=True)
        if len(made) >= kills:
            break
    log = '\n'.join(logged(path) for path in folder.glob('killed_*[0-9]'))
    return dict(
        kills=len(made),
        during_a_write=sum(bool(kill['half_written']) for kill in made),
        in_validation=sum(kill['after'].startswith('val') for kill in made),
        resumed_in_mid_epoch=len(
            re.findall('Load checkpoint from .*/iter_', log)
        ),
        half_written_removed=log.count('left half written'),
        trainings=len(ends),
        trainings_that_differ=sum(map(bool, ends)),
        compared=len(read_parts(alone / LAST)),
        differences=dict(Counter(itertools.chain(*ends))),
        seconds=round(time.monotonic() - begun),
        moments=made,
    )


def main() -> int:
    """Kill, compare, report; 1 if any training ended in another way."""
    args = parse_args()
    folder = Path(tempfile.mkdtemp(prefix='kills_'))
    try:
        report = kill_often(folder, args.kills, args.seed)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if args.out:
        args.out.write_text(json.dumps(report, indent=1))
    for name, value in report.items():
        if name != 'moments':
            print(f'{name.replace("_", " ")}: {value}')
    return int(report['trainings_that_differ'] > 0)


if __name__ == '__main__':
    sys.exit(main())
