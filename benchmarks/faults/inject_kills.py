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
import itertools
import json
import random
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.faults.compare_checkpoints import differences, read_parts
from benchmarks.faults.killable_training import (
    SECONDS_PER_RUN,
    SLOW_PIECES,
    SLOW_SECONDS,
    Forked,
    logged,
    train_alone,
    wait_to_begin,
    wait_to_write,
)
from mmtvr import files as atomic_file

LAST = 'epoch_2.pth'


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
    half = [path.name for path in work.glob(f'*{atomic_file.PARTIAL}')]
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
