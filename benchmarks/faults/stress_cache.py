"""Kill, overlap and damage writers of a frame cache, and read everything back.

``python -m benchmarks.faults.stress_cache`` has processes of two host names
write numbered frames into one folder. In each round one of them is killed
(SIGKILL) at a random moment and another is started, first on sound files, then
with a bit flipped or an end cut off in each round. In the end all that the
indexes name is read and compared with what was written.
"""

import argparse
import multiprocessing
import os
import random
import sys
import tempfile
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.measuring import report
from mmtvr.video.cache.entry import make_members
from mmtvr.video.cache.shard import DamagedEntryError
from mmtvr.video.cache.store import FrameStore
from mmtvr.video.cache.stored_video import StoredVideo

ROWS = np.arange(3)
MOST_OF_ONE = 10**6
PAUSE = 0.005


class Writer(NamedTuple):
    """A process that writes.

    Attributes:
        process: It.
        start: Its first number.
        last: Shared value, the last number that it finished.
    """

    process: BaseProcess
    start: int
    last: Any


def frames_of(number: int) -> np.ndarray:
    """Frames that no other number has.

    Args:
        number: The number.

    Returns:
        Shape (3, H, W, 3), uint8.
    """
    side = 16 + number % 128
    drawn = np.random.default_rng(number)
    return drawn.integers(0, 256, (3, side, side, 3), np.uint8)


def write(folder: Path, host: str, start: int, last: Any) -> None:
    """Write entries until someone ends it.

    Args:
        folder: Folder of the cache.
        host: Name of the machine.
        start: First number.
        last: Gets the number of each finished entry.
    """
    store = FrameStore(folder, host)
    number = start
    while True:
        facts = dict(indices=ROWS.tolist(), request=dict(quality=None))
        members = make_members(facts, frames_of(number))
        store.add(number.to_bytes(16, 'big'), members)
        last.value = number
        number += 1
        time.sleep(PAUSE)


def start_writer(folder: Path, number: int) -> Writer:
    """Start a process that writes, on one of two hosts.

    Args:
        folder: Folder of the cache.
        number: How many were started before.

    Returns:
        It.
    """
    start = number * MOST_OF_ONE
    # Windows has no such context.
    context = multiprocessing.get_context('fork')
    last = context.Value('q', start - 1)
    process = context.Process(
        target=write, args=(folder, f'host{number % 2}', start, last)
    )
    process.start()
    return Writer(process, start, last)


def damage(folder: Path, drawn: random.Random) -> None:
    """Flip a bit of some file, or cut off its end.

    Args:
        folder: Folder of the cache.
        drawn: Source of chance.
    """
    paths = [each for each in folder.iterdir() if each.stat().st_size]
    if not paths:
        return
    path = drawn.choice(paths)
    size = path.stat().st_size
    if drawn.random() < 0.5:
        os.truncate(path, size - min(size, drawn.randrange(1, 5000)))
        return
    with path.open('r+b') as file:
        file.seek(drawn.randrange(size))
        byte = file.read(1)[0] ^ (1 << drawn.randrange(8))
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte]))


def read_all(folder: Path) -> tuple[set[int], set[int]]:
    """Read what the indexes name.

    Args:
        folder: Folder of the cache.

    Returns:
        Numbers of entries with the right frames, and with wrong ones.
    """
    store = FrameStore(folder)
    store.refresh()
    right, wrong = set(), set()
    for key in store.list_keys():
        number = int.from_bytes(key, 'big')
        for shard, place in store.find(key):
            try:
                found = StoredVideo(shard, place).get_frames(ROWS)
            except DamagedEntryError:
                continue
            same = np.array_equal(found, frames_of(number))
            (right if same else wrong).add(number)
    return right, wrong


def stress(
    folder: Path, rounds: int, writers: int, harm: bool, seed: int
) -> dict[str, object]:
    """Start, kill and damage.

    Args:
        folder: Folder of the cache.
        rounds: Number of kills.
        writers: Number of processes at a time.
        harm: Whether files are damaged too.
        seed: Of all chance.

    Returns:
        A row of the table.
    """
    drawn = random.Random(seed)
    alive, ended = [], []
    for number in range(rounds + writers - 1):
        alive.append(start_writer(folder, number))
        if len(alive) < writers:
            continue
        time.sleep(drawn.uniform(0.05, 0.3))
        ended.append(alive.pop(drawn.randrange(len(alive))))
        ended[-1].process.kill()
        ended[-1].process.join()
        if harm:
            damage(folder, drawn)
    for writer in alive:
        writer.process.kill()
        writer.process.join()
    finished = {
        number
        for writer in ended + alive
        for number in range(writer.start, writer.last.value + 1)
    }
    right, wrong = read_all(folder)
    return {
        'kills': len(ended) + len(alive),
        'damaged places': rounds if harm else 0,
        'entries finished': len(finished),
        'of them not served': len(finished - right),
        'wrong frames served': len(wrong),
        'tar files': len(list(folder.glob('*.tar'))),
    }


def main() -> None:
    """Print and write what happened."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--rounds', type=int, default=100)
    parser.add_argument('--writers', type=int, default=4)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--out', type=Path)
    args = parser.parse_args()
    rows = []
    for harm in (False, True):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            rows.append(
                stress(folder, args.rounds, args.writers, harm, args.seed)
            )
    report('A frame cache under kills and damage', rows, 'cpu', args.out)


if __name__ == '__main__':
    sys.exit(main())
