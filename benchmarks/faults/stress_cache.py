"""Kill, overlap and damage writers of a frame cache, and read everything back.

``python -m benchmarks.faults.stress_cache`` has processes write numbered
frames into one folder. In each round one of them is killed (SIGKILL) at a
random moment and another is started, first on sound files, then with a bit
flipped or an end cut off in each round. In the end all entries are read and
compared with what was written.
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
from mmtvr.video.cache import DamagedEntryError, FrameCache

ROWS = np.arange(3)
VIDEO = 'video.mp4'
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


def write(folder: Path, start: int, last: Any) -> None:
    """Write entries until someone ends it.

    Args:
        folder: Folder of the cache.
        start: First number.
        last: Gets the number of each finished entry.
    """
    cache = FrameCache(str(folder / 'cache'), reserve_gb=0)
    number = start
    while True:
        frames = frames_of(number)
        query = cache.ask(str(folder / VIDEO), dict(number=number))
        cache.add(query, {}, ROWS, frames, frames.shape[1:], ROWS)
        last.value = number
        number += 1
        time.sleep(PAUSE)


def start_writer(folder: Path, number: int) -> Writer:
    """Start a process that writes.

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
    process = context.Process(target=write, args=(folder, start, last))
    process.start()
    return Writer(process, start, last)


def damage(folder: Path, drawn: random.Random) -> None:
    """Flip a bit of some file, or cut off its end.

    Args:
        folder: Folder of the cache.
        drawn: Source of chance.
    """
    paths = [each for each in entries(folder) if each.stat().st_size]
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


def entries(folder: Path) -> list[Path]:
    """Files of the entries."""
    return sorted((folder / 'cache').glob('??/*.entry'))


def read_all(folder: Path, numbers: set[int]) -> tuple[set[int], set[int]]:
    """Read entries.

    Args:
        folder: Folder of the cache.
        numbers: Of the entries.

    Returns:
        Numbers of entries with the right frames, and with wrong ones.
    """
    cache = FrameCache(str(folder / 'cache'), reserve_gb=0)
    right, wrong = set(), set()
    for number in numbers:
        query = cache.ask(str(folder / VIDEO), dict(number=number))
        entry = cache.find(query)
        if entry is None:
            continue
        try:
            found = entry.get_frames(ROWS)
        except DamagedEntryError:
            continue
        finally:
            entry.close()
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
    (folder / VIDEO).write_bytes(b'a video')
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
    # The last of a killed writer may be there, unknown to its counter.
    begun = finished | {writer.last.value + 1 for writer in ended + alive}
    right, wrong = read_all(folder, begun)
    return {
        'kills': len(ended) + len(alive),
        'damaged places': rounds if harm else 0,
        'entries finished': len(finished),
        'of them not served': len(finished - right),
        'wrong frames served': len(wrong),
        'files': len(entries(folder)),
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
