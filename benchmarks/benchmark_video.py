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
import runpy
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import fmean, median

import cv2
import numpy as np
import psutil
from mmaction.datasets import transforms as mmaction
from mmcv.transforms import Compose
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from benchmarks.measuring import ratio, report
from benchmarks.synthetic import make_clips
from mmtvr.datasets.transforms import LoadVideoFrames
from mmtvr.video import AutoReader, UnreadableVideoError

# clock_getcpuclockid(3) on Linux: the number of the process, and this.
CPU_CLOCK = 2
OTHERS = ('decord', 'opencv')
TIME_LIMIT = 60.0
#: Takes a path, returns (T, 3, size, size), uint8.
Way = Callable[[str], np.ndarray]


def make_ways(num_frames: int, size: int) -> dict[str, Way]:
    """All ways, as their authors configure them.

    ``test`` and ``train`` are ours, ``decord`` is mmaction2's and ``opencv``
    that of the CLIP4Clip family.
    """
    return dict(
        test=Mmtvr(num_frames, size, test_mode=True),
        train=Mmtvr(num_frames, size, test_mode=False),
        decord=Decord(num_frames, size),
        opencv=OncePerSecond(num_frames, size),
    )


class Mmtvr:
    """The pipeline of ``configs/_base_/datasets/msrvtt.py``, up to the text.

    Args:
        num_frames: Frames per video.
        size: Short side, and side of the crop.
        test_mode: See :class:`LoadVideoFrames`.
    """

    def __init__(self, num_frames: int, size: int, test_mode: bool) -> None:
        self._pipeline = Compose(
            [
                LoadVideoFrames(
                    num_frames,
                    test_mode=test_mode,
                    short_side=size,
                    time_limit=TIME_LIMIT,
                ),
                mmaction.Resize((-1, size), interpolation='bicubic'),
                mmaction.CenterCrop(size),
                mmaction.FormatShape('NCHW'),
            ]
        )

    def __call__(self, path: str) -> np.ndarray:
        """Read a video, see ``Way``."""
        return self._pipeline(dict(filename=path))['imgs']


class Decord:
    """mmaction2's pipeline for CLIP4Clip, with its default options.

    Args:
        num_frames: Frames per video.
        size: Short side, and side of the crop.
    """

    def __init__(self, num_frames: int, size: int) -> None:
        self._pipeline = Compose(
            [
                mmaction.DecordInit(),
                mmaction.UniformSample(
                    clip_len=num_frames, num_clips=1, test_mode=True
                ),
                mmaction.DecordDecode(),
                mmaction.Resize((-1, size)),
                mmaction.CenterCrop(size),
                mmaction.FormatShape('NCHW'),
            ]
        )

    def __call__(self, path: str) -> np.ndarray:
        """Read a video, see ``Way``."""
        sample = dict(filename=path, start_index=0, modality='RGB')
        return self._pipeline(sample)['imgs']


class OncePerSecond:
    """One frame per second of the whole clip, then thinned, with OpenCV.

    For each second the position is set and one frame read, turned to RGB,
    and resized and cropped with Pillow, as the CLIP4Clip family does. The
    conversion to normalized floats, which it does here too, is left out.

    Args:
        num_frames: Frames per video; fewer for shorter videos.
        size: Short side, and side of the crop.
    """

    def __init__(self, num_frames: int, size: int) -> None:
        self._num_frames, self._size = num_frames, size

    def __call__(self, path: str) -> np.ndarray:
        """Read a video, see ``Way``; black frames follow a short one."""
        video = cv2.VideoCapture(path)
        rate = max(int(video.get(cv2.CAP_PROP_FPS)), 1)
        count = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
        frames = []
        for position in range(0, count, rate):
            video.set(cv2.CAP_PROP_POS_FRAMES, position)
            found, frame = video.read()
            if not found:
                break
            frames.append(self._shape(frame))
        video.release()
        return self._thin(frames)

    def _shape(self, frame: np.ndarray) -> np.ndarray:
        image = Image.fromarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
        scale = self._size / min(image.size)
        width, height = (round(scale * side) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BICUBIC)
        left, top = (width - self._size) // 2, (height - self._size) // 2
        box = left, top, left + self._size, top + self._size
        return np.asarray(image.crop(box)).transpose(2, 0, 1)

    def _thin(self, frames: list[np.ndarray]) -> np.ndarray:
        chosen = np.arange(len(frames))
        if len(frames) > self._num_frames:
            chosen = np.linspace(0, len(frames) - 1, self._num_frames)
        shape = self._num_frames, 3, self._size, self._size
        thinned = np.zeros(shape, np.uint8)
        for row, index in enumerate(chosen.astype(int)):
            thinned[row] = frames[index]
        return thinned


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
        """Read all samples once; seconds and CPU seconds per sample."""
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


def group_clips(paths: Sequence[Path], copies: Path) -> dict[str, list[str]]:
    """Sort clips by kind, and add small copies of them."""
    script = Path(__file__).resolve().parents[1] / 'tools/data/compress.py'
    compress = runpy.run_path(str(script))
    groups = defaultdict(list)
    for number, path in enumerate(_list_files(paths)):
        try:
            with AutoReader(path) as reader:
                height, width = reader.original_shape
        except UnreadableVideoError:
            continue
        copy = copies / f'{number}.mp4'
        compress['compress_video'](
            str(path), copy, AutoReader, compress['Options']()
        )
        groups[f'{width}x{height}, original'].append(str(path))
        groups[f'{width}x{height}, 3 fps'].append(str(copy))
    return dict(sorted(groups.items(), key=lambda group: _rank(group[0])))


def _rank(kind: str) -> tuple[bool, int]:
    return kind.endswith('fps'), int(kind.split('x')[0])


def _list_files(paths: Sequence[Path]) -> list[Path]:
    files = []
    for path in paths:
        inside = sorted(path.iterdir()) if path.is_dir() else [path]
        files += [file for file in inside if file.is_file()]
    return files


def compare(
    kind: str, paths: Sequence[str], options: argparse.Namespace
) -> dict[str, object]:
    """Read the clips of a kind in all ways, in turn."""
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
    """Take the mean of the ratios."""
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
    print(f'load of the machine: {os.getloadavg()[0]:.1f}')


if __name__ == '__main__':
    main()
