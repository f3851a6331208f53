"""Encoders: captions or frames in, ``TokenFeatures`` out."""

from .backbone_frame import BackboneFrameEncoder
from .clip_frame import CLIPFrameEncoder
from .clip_text import CLIPTextEncoder

__all__ = ['BackboneFrameEncoder', 'CLIPFrameEncoder', 'CLIPTextEncoder']
