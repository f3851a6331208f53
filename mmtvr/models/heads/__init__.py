"""Heads: two bags of unit vectors in, a text-by-video similarity out."""

from mmtvr.models.heads.cosine import CosineHead
from mmtvr.models.heads.token_wise import DMAEHead, TokenWiseHead
from mmtvr.models.heads.video_colbert import VideoColBERTHead
from mmtvr.models.heads.xclip import XCLIPHead
from mmtvr.models.heads.xpool import XPoolHead

__all__ = [
    'CosineHead',
    'DMAEHead',
    'TokenWiseHead',
    'VideoColBERTHead',
    'XCLIPHead',
    'XPoolHead',
]
