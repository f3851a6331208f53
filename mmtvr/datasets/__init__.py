"""Datasets and the transforms that prepare their samples."""

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
    'PackTextVideo',
    'TagKeyWords',
    'TextVideoDataset',
    'TokenizeText',
]
