"""Smaller copies of videos, checked against their sources."""

from mmtvr.video.compression.compress import (
    DRAFT,
    Compression,
    LossyCopyError,
    compress_video,
)

__all__ = ['DRAFT', 'Compression', 'LossyCopyError', 'compress_video']
