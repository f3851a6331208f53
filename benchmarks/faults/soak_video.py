"""Read many samples, good and hostile, and watch memory and file handles.

``python -m benchmarks.faults.soak_video FOLDER ... --samples 10000`` reads the
files of the folders in random order as training does, in a helper process.
Beside them it makes and reads files that are empty, cut off, no video, or at
which the decoder hangs or dies. Without a folder it makes good videos too.
"""

import argparse
import os
import random
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from benchmarks.synthetic import make_noise_videos
from mmtvr.datasets.transforms import LoadVideoFrames
from mmtvr.video import decoder_process as helper_process
from mmtvr.video.decoder_process import get_decoder_process
from mmtvr.video.supervised_reader import call_in_decoder_process

READER = 'benchmarks.faults.failing_reader.FailingReader'
IN_MEMORY = '/memfd:mmtvr-frames'
SECONDS_TO_ANSWER = 60
# One hostile file among so many; those at which the decoder hangs take the
# whole time limit, and dying ones a new helper.
RARITY = dict(empty=50, text=50, cut=50, dies=200, ends=200, hangs=1000)


def main(arguments: Sequence[str] | None = None) -> list[dict]:
    """Run the command."""
    options = parse_args(arguments)
    if options.files_per_helper:
        helper_process.FILES_PER_PROCESS = options.files_per_helper
    with tempfile.TemporaryDirectory() as folder:
        good = [p for each in options.folders for p in list_files(each)]
        good = good or make_noise_videos(Path(folder))
        hostile = {}
        if not options.only_good:
            hostile = make_hostile_files(Path(folder), good[0])
        rows = list(soak(good, hostile, options))
    print(*(f'{name:>12}' for name in rows[0]))
    for row in rows:
        print(*(f'{value:>12,}' for value in row.values()))
    return rows


def soak(
    good: Sequence[str],
    hostile: dict[str, str],
    options: argparse.Namespace,
) -> Iterator[dict]:
    """Read samples."""
    load = LoadVideoFrames(
        num_frames=options.num_frames,
        short_side=options.short_side,
        reader=dict(type=READER),
        time_limit=options.time_limit,
    )
    # To be tried again each time is harder than what training does.
    load._unreadable.check = lambda path: None
    chance = random.Random(0)
    unreadable, pids, start = 0, set(), time.monotonic()
    for number in tqdm(range(1, options.samples + 1), mininterval=5):
        path = chance.choice(good)
        for kind, file in hostile.items():
            if chance.random() < 1 / RARITY[kind]:
                path = file
        load(dict(filename=path))
        unreadable += len(load.take_unreadable())
        pids.add(get_decoder_process(10**9).pid)
        if number in (1, options.samples) or number % options.every == 0:
            counts = dict(samples=number, unreadable=unreadable)
            # A new helper maps memory with the first frames that it gives.
            load(dict(filename=good[0]))
            yield (
                counts
                | measure()
                | dict(
                    helpers=len(pids), seconds=round(time.monotonic() - start)
                )
            )


def measure() -> dict[str, int]:
    """What this process and its helper have in use."""
    # An answer means that it runs, does nothing, and let go of closed files.
    call_in_decoder_process(os.path.basename, '', SECONDS_TO_ANSWER)
    own, helper = os.getpid(), get_decoder_process(10**9).pid
    children = Path(f'/proc/{own}/task/{own}/children')
    return dict(
        worker_mib=resident(own),
        worker_files=len(os.listdir(f'/proc/{own}/fd')),
        helper_mib=resident(helper),
        helper_files=len(os.listdir(f'/proc/{helper}/fd')),
        shared_files=count_shared(own) + count_shared(helper),
        children=len(children.read_text(encoding='ascii').split()),
    )


def count_shared(pid: int) -> int:
    """How often a process has files in memory open or mapped."""
    files = Path(f'/proc/{pid}/fd').iterdir()
    links = [os.readlink(file) for file in files if file.is_symlink()]
    maps = Path(f'/proc/{pid}/maps').read_text(encoding='utf-8')
    return sum(IN_MEMORY in each for each in [*links, *maps.splitlines()])


def resident(pid: int) -> int:
    """Memory of a process."""
    status = Path(f'/proc/{pid}/status').read_text(encoding='ascii')
    return int(status.split('VmRSS:')[1].split()[0]) >> 10


def list_files(folder: Path) -> list[str]:
    """All files of a folder."""
    return sorted(str(path) for path in folder.iterdir() if path.is_file())


def make_hostile_files(folder: Path, whole: str) -> dict[str, str]:
    """Write a file of each kind."""
    paths = {kind: str(folder / f'{kind}.mp4') for kind in RARITY}
    for path in paths.values():
        shutil.copy(whole, path)
    os.truncate(paths['empty'], 0)
    os.truncate(paths['cut'], os.path.getsize(whole) // 2)
    Path(paths['text']).write_text('this is no video\n' * 100)
    return paths


def parse_args(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('folders', nargs='*', type=Path)
    parser.add_argument('--samples', type=int, default=10_000)
    parser.add_argument('--every', type=int, default=1000)
    parser.add_argument('--num-frames', type=int, default=12)
    parser.add_argument('--short-side', type=int, default=112)
    parser.add_argument('--time-limit', type=float, default=1.0)
    parser.add_argument(
        '--only-good',
        action='store_true',
        help='no hostile files, so that one helper reads many',
    )
    parser.add_argument(
        '--files-per-helper', type=int, help='instead of the default'
    )
    return parser.parse_args(arguments)


if __name__ == '__main__':
    main()
