"""Encoders: captions or frames in, ``TokenFeatures`` out."""

from mmtvr.models.encoders.backbone import BackboneFrameEncoder
from mmtvr.models.encoders.clip import CLIPFrameEncoder, CLIPTextEncoder
from mmtvr.models.encoders.dual import DualFrameEncoder, DualTextEncoder

__all__ = [
    'BackboneFrameEncoder',
    'CLIPFrameEncoder',
    'CLIPTextEncoder',
    'DualFrameEncoder',
    'DualTextEncoder',
]
