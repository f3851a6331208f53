"""Videos that are loaded with and without a cache, one way after another."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.dataset import Compose
from torch.utils.data import Dataset, Sampler

WAYS = {
    'no cache': None,
    'first epoch': dict(),
    'second epoch': dict(),
    'second epoch, JPEG 95': dict(coding='jpeg', quality=95),
}
SIDE = 224


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
