"""What the frame cache saves: first epoch, second epoch, and without it.

``python -m benchmarks.benchmark_cache FOLDER ...`` loads the videos of
each folder as training does, with random frames, transforms and two workers,
and likewise videos of moving shapes that it draws. Each way takes its turn in
every round; workers live on, so that none is started within a round.
"""

import argparse
import itertools
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from mmengine.dataset import Compose
from torch.utils.data import DataLoader, Dataset, Sampler

from benchmarks.measuring import ratio, report
from mmtvr.datasets import stack_samples
from mmtvr.datasets.moving_shapes.generation import ensure_moving_shapes
from mmtvr.files import find_video_files

WAYS = {
    'no cache': None,
    'first epoch': dict(),
    'second epoch': dict(),
    'second epoch, JPEG 95': dict(coding='jpeg', quality=95),
}
SIDE = 224
BASE = 'no cache'


class Visit(NamedTuple):
    """One sample to load.

    Attributes:
        way: Key of ``WAYS``.
        epoch: Number of the folder of the cache.
        file: The video.
    """

    way: str
    epoch: int
    file: str


class Visits(Sampler):
    """Samples in the order in which they were put here."""

    def __init__(self) -> None:
        self.waiting: list[Visit] = []

    def __iter__(self) -> Iterator[Visit]:
        return iter(self.waiting)

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.waiting)


class Videos(Dataset):
    """Loads any visit, with one pipeline for each cache.

    Args:
        folder: Folder for the caches.
        num_frames: Number of frames of a sample.
        crop: Whether frames are reduced, resized and cropped.
        transform: Whether more is done than to load.
    """

    def __init__(
        self, folder: Path, num_frames: int, crop: bool, transform: bool
    ) -> None:
        self.folder = folder
        self.num_frames = num_frames
        self.crop = crop
        self.transform = transform

    @cached_property
    def pipelines(self) -> dict[tuple[str, int], Compose]:
        """Pipelines of this process."""
        return {}

    def __getitem__(self, visit: Visit) -> dict | None:
        key = visit.way, visit.epoch
        if key not in self.pipelines:
            self.pipelines[key] = Compose(self.steps(*key))
        sample = self.pipelines[key](dict(filename=visit.file))
        return sample if self.transform else None

    def steps(self, way: str, epoch: int) -> list[dict[str, Any]]:
        """Transforms of one way, as in the recipes."""
        options = WAYS[way]
        if options is not None:
            name = way.removeprefix('first ').removeprefix('second ')
            folder = self.folder / f'{name} {epoch}'
            options = dict(options, folder=str(folder))
        load = dict(
            type='mmtvr.LoadVideoFrames',
            num_frames=self.num_frames,
            short_side=SIDE if self.crop else None,
            cache=options,
        )
        crop = [
            dict(
                type='mmaction.Resize',
                scale=(-1, SIDE),
                interpolation='bicubic',
            ),
            dict(type='mmaction.CenterCrop', crop_size=SIDE),
        ]
        pack = [
            dict(type='mmaction.FormatShape', input_format='NCHW'),
            dict(type='mmtvr.PackTextVideo'),
        ]
        return [load, *crop * self.crop, *pack] if self.transform else [load]


def measure(
    files: list[str], videos: Videos, workers: int, repeats: int
) -> dict[str, list[float]]:
    """Time epochs of each way in turn."""
    visits = Visits()
    loader = DataLoader(
        videos,
        batch_size=8,
        sampler=visits,
        num_workers=workers,
        collate_fn=stack_samples if videos.transform else list,
        persistent_workers=True,
    )
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for number, way in itertools.product(range(repeats + 1), WAYS):
        epoch = number if way == 'first epoch' else 0
        visits.waiting = [Visit(way, epoch, file) for file in files]
        start = time.perf_counter()
        for _ in loader:
            pass
        taken = (time.perf_counter() - start) / len(files)
        if number:
            seconds[way].append(taken)
            if way == 'first epoch':
                shutil.rmtree(videos.folder / f'epoch {epoch}')
    return seconds


def rows_of(
    name: str,
    loading: dict[str, list[float]],
    all_steps: dict[str, list[float]],
) -> list[dict]:
    """Make the rows of the table."""
    return [
        {
            'videos': name,
            'way': way,
            'load, ms': 1000 * median(loading[way]),
            'times faster': ratio(loading[BASE], loading[way]),
            'and transform, ms': 1000 * median(all_steps[way]),
            'times faster, both': ratio(all_steps[BASE], all_steps[way]),
        }
        for way in WAYS
    ]


def main() -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('folders', type=Path, nargs='*')
    parser.add_argument('--shapes', type=int, default=100)
    parser.add_argument('--visits', type=int, default=4, help='of each file')
    parser.add_argument('--workers', type=int, default=2)
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--out', type=Path)
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        groups = {
            folder.name: [Path(path) for path in find_video_files(folder, {})]
            for folder in args.folders
        }
        shapes = ensure_moving_shapes(scratch, 'test', args.shapes, 0)
        groups['moving shapes'] = sorted((shapes / 'videos').iterdir())
        for group, paths in groups.items():
            drawn = group == 'moving shapes'
            files = make_copies(paths, scratch / f'{group} files', args.visits)
            seconds = [
                measure(
                    files,
                    Videos(
                        scratch / f'{group} {transform}',
                        8 if drawn else 12,
                        not drawn,
                        transform,
                    ),
                    args.workers,
                    args.repeats,
                )
                for transform in (False, True)
            ]
            rows += rows_of(group, *seconds)
    report('Loading with a frame cache', rows, 'cpu', args.out)


def make_copies(paths: list[Path], folder: Path, count: int) -> list[str]:
    """Copy videos so that each copy is another to the cache."""
    folder.mkdir()
    copies = []
    for number, path in itertools.product(range(count), paths):
        copy = folder / f'{number}-{path.name}'
        # Bytes behind the end, which no decoder looks at.
        copy.write_bytes(path.read_bytes() + bytes(number))
        copies.append(str(copy))
    return copies


if __name__ == '__main__':
    sys.exit(main())
