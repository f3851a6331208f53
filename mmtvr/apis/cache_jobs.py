"""What the frame cache of a config is to hold."""

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from mmengine.config import Config, ConfigDict

from mmtvr.config import walk
from mmtvr.datasets.transforms.video import LoadVideoFrames
from mmtvr.errors import SetupError
from mmtvr.registry import DATASETS, TRANSFORMS


class CacheJob(NamedTuple):
    """A video, or a span of one, as one transform loads it.

    Attributes:
        transform: JSON of the options of the transform.
        filename: Path of the video.
        start: Begin of the span in seconds, or None.
        end: End of the span in seconds, or None.
    """

    transform: str
    filename: str
    start: float | None
    end: float | None

    @property
    def sample(self) -> dict[str, Any]:
        """What the transform is given."""
        span = dict(start=self.start, end=self.end)
        present = {key: at for key, at in span.items() if at is not None}
        return dict(filename=self.filename, **present)


def find_jobs(cfg: Config, split: str) -> list[CacheJob]:
    """List what the loader of a split will ask the cache for.

    Args:
        cfg: The whole config.
        split: ``'train'``, ``'val'`` or ``'test'``.

    Returns:
        Each video, or span, once.

    Raises:
        SetupError: If no transform of the split has a cache, or a video is
            not there.
    """
    loader = cfg.get(f'{split}_dataloader') or {}
    jobs: dict[CacheJob, None] = {}
    for _, node in walk(loader):
        for transform in _cached_transforms(node.get('pipeline') or ()):
            jobs.update(dict.fromkeys(_jobs_of(node, transform)))
    if not jobs:
        raise SetupError(
            f'no frame cache is set for {split}: give LoadVideoFrames '
            f'cache=dict(folder=...), as with --cfg-options {split}_'
            'dataloader.dataset.pipeline.0.cache.folder=data/frame_cache'
        )
    return list(jobs)


def _cached_transforms(pipeline: Sequence[Any]) -> Iterator[dict]:
    for step in pipeline:
        if isinstance(step, dict) and step.get('cache'):
            kind = step.get('type')
            kind = TRANSFORMS.get(kind) if isinstance(kind, str) else kind
            if isinstance(kind, type) and issubclass(kind, LoadVideoFrames):
                yield step


def _jobs_of(dataset: dict, transform: dict) -> Iterator[CacheJob]:
    # The other transforms may need weights or a network.
    samples = DATASETS.build(ConfigDict(dataset, pipeline=[]))
    samples.full_init()
    options = json.dumps(transform, sort_keys=True)
    for number in range(len(samples)):
        sample = samples.get_data_info(number)
        yield CacheJob(
            options,
            str(sample['filename']),
            sample.get('start'),
            sample.get('end'),
        )
