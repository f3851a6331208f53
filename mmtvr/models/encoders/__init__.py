"""Encoders: captions or frames in, ``TokenFeatures`` out."""

from mmtvr.models.encoders.backbone import BackboneFrameEncoder
from mmtvr.models.encoders.clip import CLIPFrameEncoder, CLIPTextEncoder
from mmtvr.models.encoders.dual import DualFrameEncoder, DualTextEncoder
from mmtvr.models.encoders.towers import ImageTower, TextTower

__all__ = [
    'BackboneFrameEncoder',
    'CLIPFrameEncoder',
    'CLIPTextEncoder',
    'DualFrameEncoder',
    'DualTextEncoder',
    'ImageTower',
    'TextTower',
]
