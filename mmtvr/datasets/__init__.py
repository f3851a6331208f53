"""Datasets and the transforms that prepare their samples."""

from mmtvr.datasets.moving_shapes import MovingShapesDataset
from mmtvr.datasets.readers import get_reader
from mmtvr.datasets.samplers import (
    ResumableBatchSampler,
    SeededDataset,
    stack_samples,
)
from mmtvr.datasets.text_video import TextVideoDataset
from mmtvr.datasets.transforms import (
    DropUnimportantWords,
    LoadVideoFrames,
    PackTextVideo,
    TagKeyWords,
    TokenizeText,
)

__all__ = [
    'DropUnimportantWords',
    'LoadVideoFrames',
    'MovingShapesDataset',
    'PackTextVideo',
    'ResumableBatchSampler',
    'SeededDataset',
    'TagKeyWords',
    'TextVideoDataset',
    'TokenizeText',
    'get_reader',
    'stack_samples',
]
