"""The splits of a set as tensors, out of features that were stored once.

Each video is in the test of one fold, so the files of the five test splits
hold every video and every caption once, and no fold needs the towers again.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import torch
from mmengine.dataset import Compose
from torch import Tensor

from mmtvr.datasets.annotations import VideoCaptions, read_annotations
from mmtvr.datasets.frozen_features import (
    TEXT_INPUTS,
    FeatureFile,
    split_pipeline,
)

VIDEO_INPUTS = dict(
    frame_tokens='tokens', frame_mask='mask', frame_pooled='pooled'
)
Features = dict[str, dict[str, Tensor]]


@cache
def read_folds(
    annotations: tuple[Path, ...], files: tuple[Path, ...]
) -> tuple[Features, Features]:
    """Features by name of the video and by caption.

    Args:
        annotations: Annotation file of each test fold.
        files: Features of each, see ``tools/extract.py``.
    """
    videos: Features = {}
    texts: Features = {}
    for annotation, file in zip(annotations, files, strict=True):
        features = FeatureFile(file)
        records = read_annotations(annotation)
        captions = dict.fromkeys(
            caption for record in records for caption in record.captions
        )
        for table, names, into in (
            ('video', [record.file for record in records], videos),
            ('text', list(captions), texts),
        ):
            found = features.get(table, range(len(names)))
            for row, name in enumerate(names):
                into[name] = {key: each[row] for key, each in found.items()}
    return videos, texts


def make_inputs(
    records: Sequence[VideoCaptions],
    videos: Features,
    texts: Features | Sequence[Mapping],
    pipeline: Sequence[Mapping] | None = None,
) -> dict[str, Tensor]:
    """Inputs of ``TextVideoRetriever``, a caption for each of N videos.

    Args:
        records: The N videos; their first captions count.
        videos: Features by name of the video.
        texts: See :func:`make_texts`.
        pipeline: Makes word pieces too, for losses that encode captions
            again.
    """
    captions = [record.captions[0] for record in records]
    inputs = make_texts(captions, texts)
    if pipeline is not None and 'tokens' not in inputs:
        length = inputs['token_mask'].shape[1]
        tokens = pack_captions(captions, pipeline)['tokens']
        inputs['tokens'] = tokens[:, :length]
    return inputs | make_videos(records, videos)


def make_videos(
    records: Sequence[VideoCaptions], videos: Features
) -> dict[str, Tensor]:
    """The part of the inputs that is about videos."""
    found = [videos[record.file] for record in records]
    return _as_float(
        {
            name: torch.stack([each[key] for each in found])
            for name, key in VIDEO_INPUTS.items()
        }
    )


def make_texts(
    captions: Sequence[str], texts: Features | Sequence[Mapping]
) -> dict[str, Tensor]:
    """The part of the inputs that is about captions.

    Args:
        captions: N captions.
        texts: Features by caption; or a pipeline that makes word pieces of
            captions, for a text tower that is trained or another language.
    """
    if not isinstance(texts, dict):
        return _as_float(pack_captions(captions, texts))
    words = [texts[caption] for caption in captions]
    longest = max(int(each['mask'].sum()) for each in words)
    return _as_float(
        {
            name: torch.stack(
                [_cut(each[key], key, longest) for each in words]
            )
            for key, name in TEXT_INPUTS.items()
            if key in words[0]
        }
    )


def _as_float(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name: each.float() if each.is_floating_point() else each
        for name, each in inputs.items()
    }


def pack_captions(
    captions: Sequence[str], pipeline: Sequence[Mapping]
) -> dict[str, Tensor]:
    """Word pieces of captions, by the transforms of a pipeline for texts."""
    _, transforms = split_pipeline(pipeline)
    return Compose(transforms)(dict(text=list(captions)))['inputs']


def _cut(values: Tensor, key: str, length: int) -> Tensor:
    """Leave ``length`` places, real ones or padding."""
    if key not in ('tokens', 'mask', 'weight'):
        return values
    values = values[:length]
    missing = values.new_zeros(length - len(values), *values.shape[1:])
    return torch.cat([values, missing])


def select(inputs: Mapping[str, Tensor], rows: Tensor) -> dict[str, Tensor]:
    """Some rows, without the padding that all of their captions share."""
    chosen = {name: each[rows] for name, each in inputs.items()}
    longest = int(chosen['token_mask'].sum(-1).max())
    for name in ('words', 'tokens', 'token_mask', 'token_weight'):
        if name in chosen:
            chosen[name] = chosen[name][:, :longest]
    return chosen
