"""The video files that a config uses, and what for."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmtvr.config import walk
from mmtvr.datasets.annotations import read_annotations
from mmtvr.datasets.text_video import TextVideoDataset
from mmtvr.errors import SetupError
from mmtvr.registry import DATASETS, TRANSFORMS

LOADERS = ('train', 'val', 'test')


@dataclass
class VideoUse:
    """One sample of a data set.

    Attributes:
        dataset: Position of its data set.
        sample: ``filename`` and, if the annotation gives them, ``start`` and
            ``end``.
    """

    dataset: int
    sample: dict


@dataclass
class ConfigDataset:
    """One data set of a config.

    Attributes:
        stages: Out of train, val and test.
        ann_file: Its annotation file.
        folder: Its folder of videos.
        loader: The transform that reads its videos.
        videos: Number of videos.
        captions: Number of captions.
    """

    stages: list[str]
    ann_file: str
    folder: str
    loader: Any
    videos: int
    captions: int

    @property
    def label(self) -> str:
        """Stages and annotation file, for people."""
        return f'{", ".join(self.stages)} ({Path(self.ann_file).name})'


@dataclass
class ConfigVideos:
    """Everything that a config reads.

    Attributes:
        datasets: Each once, also where two stages share it.
        files: Path to what it is used for.
        others: Types of data sets of other libraries, which are not checked.
    """

    datasets: list[ConfigDataset] = field(default_factory=list)
    files: dict[str, list[VideoUse]] = field(default_factory=dict)
    others: set[str] = field(default_factory=set)


def find_config_videos(cfg: Config) -> ConfigVideos:
    """Read the annotation files of all data sets of a config.

    Nothing needs to be there of videos, model or tokenizer.

    Args:
        cfg: The whole config.

    Returns:
        What it reads.

    Raises:
        SetupError: If an annotation file is missing, or no data set is of
            this project.
    """
    found = ConfigVideos()
    for stage in LOADERS:
        node = (cfg.get(f'{stage}_dataloader') or {}).get('dataset') or {}
        for _, each in walk(node):
            if 'type' not in each:
                continue
            kind = DATASETS.get(str(each['type']))
            if isinstance(kind, type) and issubclass(kind, TextVideoDataset):
                _add(found, stage, each)
            elif kind is not None and 'pipeline' in each:
                found.others.add(str(each['type']))
    if not found.datasets:
        raise SetupError(
            'the config has no data set that is a mmtvr.TextVideoDataset; it '
            f'has {", ".join(sorted(found.others)) or "none at all"}'
        )
    return found


def _add(found: ConfigVideos, stage: str, node: dict) -> None:
    steps = list(_reading_steps(node.get('pipeline') or ()))
    steps = steps or [dict(type='mmtvr.LoadVideoFrames')]
    dataset = DATASETS.build({**node, 'pipeline': steps, 'lazy_init': True})
    loader = dataset.pipeline.transforms[0]
    folder = str(dataset.data_prefix['video'])
    for known in found.datasets:
        same = known.ann_file == dataset.ann_file and known.folder == folder
        if same and known.loader.num_frames == loader.num_frames:
            known.stages.append(stage)
            return
    records = read_annotations(dataset.ann_file)
    captions = sum(len(record.captions) for record in records)
    number = len(found.datasets)
    found.datasets.append(
        ConfigDataset(
            [stage], dataset.ann_file, folder, loader, len(records), captions
        )
    )
    for record in records:
        path = str(Path(folder) / record.file)
        sample = dict(filename=path)
        sample |= {
            name: value
            for name in ('start', 'end')
            if (value := getattr(record, name)) is not None
        }
        found.files.setdefault(path, []).append(VideoUse(number, sample))


def _reading_steps(pipeline: Any) -> Iterator[dict]:
    for step in pipeline:
        if hasattr(TRANSFORMS.get(str(step['type'])), 'count_frames'):
            yield dict(step)
