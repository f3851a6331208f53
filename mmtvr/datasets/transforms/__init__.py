"""Transforms from an annotation to what a model takes."""

from mmtvr.datasets.transforms.keywords import (
    DropUnimportantWords,
    TagKeyWords,
)
from mmtvr.datasets.transforms.packing import PackTextVideo
from mmtvr.datasets.transforms.text import TokenizeText
from mmtvr.datasets.transforms.video import LoadVideoFrames

__all__ = [
    'DropUnimportantWords',
    'LoadVideoFrames',
    'PackTextVideo',
    'TagKeyWords',
    'TokenizeText',
]
