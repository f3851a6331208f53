"""Encoders: captions or frames in, ``TokenFeatures`` out."""

from mmtvr.models.encoders.backbone import BackboneFrameEncoder
from mmtvr.models.encoders.clip import CLIPFrameEncoder, CLIPTextEncoder

__all__ = ['BackboneFrameEncoder', 'CLIPFrameEncoder', 'CLIPTextEncoder']
