"""Features that were stored once for each test fold, for all splits.

Each video is in the test of one fold, so the files of the five test splits
hold every video and every caption once, and no fold needs the towers again.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from mmaction.structures import ActionDataSample
from torch import Tensor

from mmtvr.datasets.annotations import read_annotations
from mmtvr.datasets.frozen_features import (
    TEXT_INPUTS,
    FeatureFile,
    FrozenFeatureDataset,
    build_unread,
    split_pipeline,
)
from mmtvr.registry import DATASETS


@cache
def read_folds(
    annotations: tuple[Path, ...], files: tuple[Path, ...]
) -> tuple[dict[str, dict[str, Tensor]], dict[str, dict[str, Tensor]]]:
    """Features by name of the video and by caption.

    Args:
        annotations: Annotation file of each test fold.
        files: Features of each.
    """
    videos: dict[str, dict[str, Tensor]] = {}
    texts: dict[str, dict[str, Tensor]] = {}
    for annotation, file in zip(annotations, files, strict=True):
        features = FeatureFile(file)
        records = read_annotations(annotation)
        captions = dict.fromkeys(
            caption for record in records for caption in record.captions
        )
        for row, record in enumerate(records):
            videos[record.file] = features.get('video', row)
        for row, caption in enumerate(captions):
            texts[caption] = features.get('text', row)
    return videos, texts


@DATASETS.register_module()
class StoredFolds(FrozenFeatureDataset):
    """The samples of a dataset out of the features of all test folds.

    Args:
        dataset: Config of a ``TextVideoDataset`` with one caption a video.
        annotations: Annotation file of each test fold.
        files: Features of each.
        live_captions: Read captions by the pipeline, for a text tower that
            is trained or for another language, and only videos out of the
            files.
    """

    def __init__(
        self,
        dataset: dict,
        annotations: list[str],
        files: list[str],
        live_captions: bool = False,
    ) -> None:
        self.config = dataset
        self.stored = read_folds(
            tuple(map(Path, annotations)), tuple(map(Path, files))
        )
        self.live_captions = live_captions
        self.dataset: Any = None

    def full_init(self) -> None:
        """Load the annotations."""
        if self.dataset is not None:
            return
        _, texts = split_pipeline(self.config['pipeline'])
        pipeline = texts if self.live_captions else []
        self.dataset = build_unread(self.config, pipeline)
        self._infos = [
            self.dataset.get_data_info(i) for i in range(len(self.dataset))
        ]
        self._samples: dict[int, dict] = {}

    @property
    def metainfo(self) -> dict:
        """That of the dataset."""
        self.full_init()
        return self.dataset.metainfo

    def __getitem__(self, index: int) -> dict:
        """Take a sample, as ``PackTextVideo`` packs it."""
        self.full_init()
        if index not in self._samples:
            self._samples[index] = self._make(index)
        return self._samples[index]

    def _make(self, index: int) -> dict:
        info = self._infos[index]
        videos, texts = self.stored
        found = videos[Path(info['filename']).name]
        inputs = dict(
            frame_tokens=found['tokens'],
            frame_mask=found['mask'],
            frame_pooled=found['pooled'],
        )
        captions = info['text']
        captions = [captions] if isinstance(captions, str) else captions
        if self.live_captions:
            packed = self.dataset.pipeline(dict(info, text=captions))
            inputs |= packed['inputs']
        else:
            inputs |= _stack([texts[caption] for caption in captions])
        sample = ActionDataSample()
        sample.set_metainfo(
            dict(
                video_id=info['video_id'],
                sample_idx=index,
                filename=info['filename'],
                text=captions,
            )
        )
        return dict(inputs=inputs, data_samples=sample)


def _stack(rows: list[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {
        name: torch.stack([row[key] for row in rows])
        for name, key in TEXT_INPUTS.items()
        if key in rows[0]
    }
