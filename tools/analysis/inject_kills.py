"""Kill training again and again, and compare its end with an unbroken run.

One run is left alone. Then the same training is started, killed by ``kill
-9`` at a random moment, gone on with by ``--resume`` and killed again, until
enough kills were made; whenever a training comes to its end, it is compared
bit for bit with the one left alone, and another one begins. Every third kill
hits the writing of a checkpoint, which is slowed down in the process to be
killed, and only there.

    python tools/analysis/inject_kills.py --kills 50 --out kills.json
"""

import argparse
import itertools
import json
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

from mmtvr import atomic_file

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / 'configs/tpmcl_moving_shapes.py'
OPTIONS = {
    'train_cfg.max_epochs': 2,
    'train_cfg.val_interval': 1,
    'train_dataloader.batch_size': 4,
    'train_dataloader.num_workers': 1,
    'train_dataloader.dataset.num_videos': 48,
    'val_dataloader.num_workers': 1,
    'val_dataloader.dataset.num_videos': 12,
    'default_hooks.checkpoint.every_n_iters': 2,
    'default_hooks.logger.interval': 1,
}
LAST = 'epoch_2.pth'
BEGUN = 'Epoch(train)'
SECONDS_PER_RUN = 300
SLOW_PIECES, SLOW_SECONDS = 20, 0.02


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--kills', type=int, default=50)
    parser.add_argument('--seed', type=int, default=0, help='of the moments')
    parser.add_argument('--out', type=Path, help='JSON file of all kills')
    parser.add_argument('--slow', nargs=argparse.REMAINDER, help=SLOW_HELP)
    return parser.parse_args()


SLOW_HELP = 'used by this script for the process whose writing it hits'


def write_slowly(path: Path, content: bytes) -> None:
    """Stand for :func:`mmtvr.atomic_file.write_through` on a slow disk."""
    step = len(content) // SLOW_PIECES + 1
    with open(path, 'wb', buffering=0) as file:
        for start in range(0, len(content), step):
            file.write(content[start : start + step])
            time.sleep(SLOW_SECONDS)
        os.fsync(file.fileno())


def train_slowly(arguments: list[str]) -> None:
    """Run ``tools/train.py`` with slow writing of checkpoints."""
    atomic_file.write_through = write_slowly
    sys.argv = [str(ROOT / 'tools/train.py'), *arguments]
    runpy.run_path(sys.argv[0], run_name='__main__')


def start(folder: Path, work: Path, slow: bool) -> subprocess.Popen:
    """Start a training, or go on with it, in a session of its own."""
    command = [sys.executable, str(ROOT / 'tools/train.py')]
    if slow:
        command = [sys.executable, __file__, '--slow']
    data = {
        f'{name}_dataloader.dataset.data_root': folder / 'data'
        for name in ('train', 'val')
    }
    options = [f'{k}={v}' for k, v in {**OPTIONS, **data}.items()]
    command += [str(CONFIG), '--work-dir', str(work), '--resume']
    with work.with_suffix('.log').open('a') as log:
        return subprocess.Popen(
            [*command, '--cfg-options', *options],
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, 'OMP_NUM_THREADS': '1'},
        )


def logged(work: Path) -> str:
    """What all processes of a training have logged."""
    log = work.with_suffix('.log')
    return log.read_text() if log.exists() else ''


def wait_to_begin(process: subprocess.Popen, work: Path, seen: int) -> None:
    """Wait until a process trains, or ends."""
    end = time.monotonic() + SECONDS_PER_RUN
    while process.poll() is None and BEGUN not in logged(work)[seen:]:
        if time.monotonic() > end:
            raise TimeoutError(f'training does not begin, see {work}.log')
        time.sleep(0.01)


def wait_to_write(process: subprocess.Popen, work: Path, which: int) -> None:
    """Wait until a checkpoint is half written, or the training has ended."""
    pattern = f'*.pth{atomic_file.PARTIAL}'
    for number in range(which + 1):
        while number and process.poll() is None and any(work.glob(pattern)):
            time.sleep(0.001)
        while process.poll() is None and not any(work.glob(pattern)):
            time.sleep(0.001)


def train_and_kill(
    folder: Path,
    work: Path,
    seconds: float,
    writing: bool,
    draw: random.Random,
) -> dict[str, Any] | None:
    """Train, and kill at a moment.

    Args:
        folder: Where the videos lie.
        work: Where the training lies; it goes on if there is one.
        seconds: How long all of it takes.
        writing: Kill in the middle of a write, else within a third of that.
        draw: Draws the moment.

    Returns:
        What was going on; None if the training ended before.
    """
    seen = len(logged(work))
    process = start(folder, work, writing)
    wait_to_begin(process, work, seen)
    if writing:
        wait_to_write(process, work, draw.randrange(3))
        time.sleep(draw.uniform(0, SLOW_PIECES * SLOW_SECONDS))
    else:
        time.sleep(draw.uniform(0, seconds / 3))
    if process.poll() is not None:
        if process.returncode:
            raise RuntimeError(f'training failed, see {work}.log')
        return None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    places = re.findall(r'Epoch\((\w+)\) +\[(\d+)\]\[ *(\d+)/', logged(work))
    half = [path.name for path in work.glob(f'*{atomic_file.PARTIAL}')]
    return dict(writing=writing, after=' '.join(places[-1]), half_written=half)


def differences(one: Path, other: Path) -> list[str]:
    """What is not the same, bit for bit, in two last checkpoints."""
    first, second = (
        dict(parts(torch.load(work / LAST, weights_only=True)))
        for work in (one, other)
    )
    return sorted(
        name
        for name in first.keys() | second.keys()
        if name not in first
        or name not in second
        or not same(first[name], second[name])
    )


def parts(checkpoint: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Weights, optimiser, schedules, metrics and losses of a checkpoint."""
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


def kill_often(folder: Path, kills: int, seed: int) -> dict[str, Any]:
    """Make all kills and compare each training that came to its end."""
    draw = random.Random(seed)
    begun = time.monotonic()
    alone = folder / 'alone'
    process = start(folder, alone, slow=False)
    wait_to_begin(process, alone, 0)
    training = time.monotonic()
    if process.wait(SECONDS_PER_RUN):
        raise RuntimeError(f'training failed:\n{logged(alone)[-2000:]}')
    seconds = time.monotonic() - training
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
            if start(folder, work, slow=False).wait(SECONDS_PER_RUN):
                raise RuntimeError(f'failed:\n{logged(work)[-2000:]}')
        ends.append(differences(alone, work))
        print(f'training {number}: {len(ends[-1])} differences', flush=True)
        if len(made) >= kills:
            break
    log = '\n'.join(logged(path) for path in folder.glob('killed_*[0-9]'))
    return dict(
        kills=len(made),
        during_a_write=sum(bool(kill['half_written']) for kill in made),
        in_validation=sum(kill['after'].startswith('val') for kill in made),
        resumed_in_mid_epoch=log.count('/iter_'),
        half_written_removed=log.count('left half written'),
        trainings=len(ends),
        trainings_that_differ=sum(map(bool, ends)),
        compared=len(list(parts(torch.load(alone / LAST, weights_only=True)))),
        differences=dict(Counter(itertools.chain(*ends))),
        seconds=round(time.monotonic() - begun),
        moments=made,
    )


def main() -> int:
    """Kill, compare, report; 1 if any training ended in another way."""
    args = parse_args()
    if args.slow is not None:
        train_slowly(args.slow)
        return 0
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
