"""Transforms from an annotation to what a model takes."""

from mmtvr.datasets.transforms.key_words import TagKeyWords
from mmtvr.datasets.transforms.packing import PackTextVideo
from mmtvr.datasets.transforms.text import TokenizeText
from mmtvr.datasets.transforms.video import LoadVideoFrames
from mmtvr.datasets.transforms.word_dropping import DropUnimportantWords

__all__ = [
    'DropUnimportantWords',
    'LoadVideoFrames',
    'PackTextVideo',
    'TagKeyWords',
    'TokenizeText',
]
