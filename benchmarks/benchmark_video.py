"""Read videos as for training, in our way and in two that are in use.

``python -m benchmarks.benchmark_video CLIP_OR_FOLDER ...`` takes the clips
of each size as they are, and copies at 3 frames per second and short side 224;
without clips it makes some. 12 frames of each, cropped to 224x224, are read by
2 worker processes: by mmtvr (``test`` and ``train``: the middle, and a random
frame of each segment), by mmaction2's pipeline with decord, and once per
second with OpenCV, seeking, as the CLIP4Clip family does. The ways take turns.

CPU time is that of the workers and of all processes below them. It says more
than time on a machine that has other work to do.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean, median

import cv2
import numpy as np
import psutil
from torch.utils.data import DataLoader, Dataset

from benchmarks.measuring import ratio, report
from benchmarks.video_breakdown import break_down
from benchmarks.video_clips import group_clips, make_clips
from benchmarks.video_ways import Way, make_ways

# clock_getcpuclockid(3) on Linux: the number of the process, and this.
CPU_CLOCK = 2
OTHERS = ('decord', 'opencv')


class Frames(Dataset):
    """Clips, each several times.

    Args:
        paths: The files.
        way: How to read one.
        count: How many samples there are.
    """

    def __init__(self, paths: Sequence[str], way: Way, count: int) -> None:
        self._paths, self._way, self._count = paths, way, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> np.ndarray:
        return self._way(self._paths[index % len(self._paths)])


class Loading:
    """Worker processes that read the clips of one kind in one way.

    Args:
        paths: The files.
        way: How to read one.
        count: Samples per round.
        num_workers: Number of processes.
    """

    def __init__(
        self, paths: Sequence[str], way: Way, count: int, num_workers: int
    ) -> None:
        self._count = count
        self._loader = DataLoader(
            Frames(paths, way, count),
            batch_size=2,
            num_workers=num_workers,
            persistent_workers=True,
        )
        before = set(psutil.Process().children())
        # The first round starts the workers, and what these start.
        self._read()
        self._workers = set(psutil.Process().children()) - before

    def measure(self) -> tuple[float, float]:
        """Read all samples once.

        Returns:
            Seconds per sample, and CPU seconds per sample.
        """
        start, before = time.perf_counter(), self._spent()
        self._read()
        seconds = time.perf_counter() - start
        return seconds / self._count, (self._spent() - before) / self._count

    def _read(self) -> None:
        for _ in self._loader:
            pass

    def _spent(self) -> float:
        return sum(
            time.clock_gettime(~process.pid << 3 | CPU_CLOCK)
            for worker in self._workers
            for process in _with_descendants(worker)
        )


def _with_descendants(process: psutil.Process) -> Iterator[psutil.Process]:
    yield process
    yield from process.children(recursive=True)


def compare(
    kind: str, paths: Sequence[str], options: argparse.Namespace
) -> dict[str, object]:
    """Read the clips of a kind in all ways, in turn.

    Args:
        kind: Its name.
        paths: The clips.
        options: Of the command line.

    Returns:
        A row: milliseconds of CPU time per sample of each way; how many times
        more the other ways take than the dearer of our two; the same of
        time; and samples per second of ours.
    """
    loadings = {
        name: Loading(paths, way, options.samples, options.num_workers)
        for name, way in make_ways(options.num_frames, options.size).items()
    }
    found = {name: ([], []) for name in loadings}
    for _ in range(options.rounds):
        for name, loading in loadings.items():
            for values, value in zip(
                found[name], loading.measure(), strict=True
            ):
                values.append(value)
    row: dict[str, object] = dict(kind=kind, clips=len(paths))
    for name, (_, cpu) in found.items():
        row[f'{name}, CPU ms'] = 1000 * median(cpu)
    for which, title in ((1, 'CPU'), (0, 'time')):
        for other in OTHERS:
            row[f'{other} : ours, {title}'] = min(
                ratio(found[other][which], found[ours][which])
                for ours in ('test', 'train')
            )
    row['ours per s'] = 1 / median(found['test'][0])
    return row


def average(rows: Sequence[dict[str, object]]) -> dict[str, object]:
    """Take the mean of the ratios.

    Args:
        rows: See :func:`compare`.

    Returns:
        A last row.
    """
    return {
        name: fmean(row[name] for row in rows) if ':' in name else ''
        for name in rows[0]
    } | dict(kind='mean')


def parse_args(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('clips', nargs='*', type=Path)
    parser.add_argument('--num-frames', type=int, default=12)
    parser.add_argument('--size', type=int, default=224)
    parser.add_argument('--num-workers', type=int, default=2)
    parser.add_argument('--samples', type=int, default=24, help='per round')
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--out', type=Path, help='JSON of the first table')
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure as the command line says."""
    options = parse_args(arguments)
    # As in every worker that mmengine starts: one worker, one core.
    cv2.setNumThreads(0)
    with tempfile.TemporaryDirectory() as folder:
        clips = options.clips or make_clips(Path(folder))
        groups = group_clips(clips, Path(folder))
        rows = [compare(kind, *(p, options)) for kind, p in groups.items()]
        report('Videos', [*rows, average(rows)], 'cpu', options.out)
        parts = [
            dict(
                kind=kind,
                **_mean_parts(paths, options),
            )
            for kind, paths in groups.items()
        ]
        report('CPU ms of ours, by part', parts, 'cpu')
    print(f'load of the machine: {os.getloadavg()[0]:.1f}')


def _mean_parts(
    paths: Sequence[str], options: argparse.Namespace
) -> dict[str, float]:
    rows = [
        break_down(path, options.num_frames, options.size, options.rounds)
        for path in paths
    ]
    return {name: fmean(row[name] for row in rows) for name in rows[0]}


if __name__ == '__main__':
    main()
