"""What a helper process costs: the same samples read with and without it.

``python -m benchmarks.benchmark_supervision FOLDER`` reads the videos of
a folder; without one, small videos that it makes. Rounds alternate, so that
other work on the machine slows both alike.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.faults.soak_video import list_files
from benchmarks.measuring import ratio, report, time_in_turn
from benchmarks.synthetic import make_noise_videos
from mmtvr.datasets.readers import get_reader
from mmtvr.datasets.transforms import LoadVideoFrames
from mmtvr.video import UnreadableVideoError
from mmtvr.video.decoder_process import (
    end_decoder_process,
    get_decoder_process,
)


def compare(
    paths: list[str], reader: str, short_side: int | None, rounds: int
) -> list[dict]:
    """Read 12 frames of each file directly and in a helper."""
    rows = []
    for path in paths:
        tasks = {
            way: make_task(path, reader, short_side, limit)
            for way, limit in (('direct', None), ('helper', 60.0))
        }
        times = time_in_turn(tasks, rounds)
        direct, helper = (1000 * median(times[way]) for way in tasks)
        cpu = {way: count_cpu(task, rounds) for way, task in tasks.items()}
        rows.append(
            dict(
                file=Path(path).name,
                direct_ms=direct,
                helper_ms=helper,
                ratio=ratio(times['helper'], times['direct']),
                direct_cpu_ms=cpu['direct'],
                helper_cpu_ms=cpu['helper'],
            )
        )
    return rows


def count_cpu(task: Callable[[], object], repeats: int) -> float:
    """Count the work of this process and of its helper.

    It says more than time on a machine that has other work to do.
    """
    found = []
    for _ in range(repeats):
        before = _cpu_nanoseconds()
        task()
        found.append((_cpu_nanoseconds() - before) / 1e6)
    return median(found)


def _cpu_nanoseconds() -> int:
    pids = os.getpid(), get_decoder_process(10**9).pid
    return sum(
        int(path.read_text().split()[0])
        for pid in pids
        for path in Path(f'/proc/{pid}/task').glob('*/schedstat')
    )


def make_task(
    path: str, reader: str, short_side: int | None, limit: float | None
) -> Callable[[], object]:
    """Prepare to read one sample."""
    load = LoadVideoFrames(
        test_mode=True, reader=reader, short_side=short_side, time_limit=limit
    )
    return partial(load, dict(filename=path))


def time_start(rounds: int) -> list[dict]:
    """Time the start of a helper."""

    def run(*code: str) -> None:
        subprocess.run([sys.executable, '-c', *code], check=True)

    tasks = {
        'helper, ready to read': lambda: (
            end_decoder_process(),
            get_decoder_process(9),
        ),
        'python -c "import numpy"': lambda: run('import numpy'),
        'python -c pass': lambda: run('pass'),
    }
    times = time_in_turn(tasks, rounds)
    end_decoder_process()
    return [
        dict(start=name, ms=1000 * median(seconds))
        for name, seconds in times.items()
    ]


def readable(paths: list[str], reader: str) -> list[str]:
    """Leave out what is no video."""
    found = []
    for path in paths:
        try:
            get_reader(reader)(path).close()
        except UnreadableVideoError:
            continue
        found.append(path)
    return found


def main() -> None:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('folder', nargs='?', type=Path)
    parser.add_argument('--reader', default='auto')
    parser.add_argument('--short-side', type=int, default=224)
    parser.add_argument('--rounds', type=int, default=15)
    parser.add_argument('--out', type=Path, help='JSON of the first table')
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.folder is None:
            paths = make_noise_videos(Path(folder))
        else:
            paths = readable(list_files(options.folder), options.reader)
        rows = compare(
            paths, options.reader, options.short_side, options.rounds
        )
    report('One sample of 12 frames', rows, 'cpu', options.out)
    report('Start', time_start(options.rounds), 'cpu')
    print(f'load of the machine: {os.getloadavg()[0]:.1f}')


if __name__ == '__main__':
    main()
