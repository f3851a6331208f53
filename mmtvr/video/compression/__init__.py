"""Smaller copies of videos, checked against their sources."""

from mmtvr.video.compression.compress import (
    Compression,
    LossyCopyError,
    compress_video,
)

__all__ = ['Compression', 'LossyCopyError', 'compress_video']
