"""Frames of videos, decoded once and kept in few large files."""

from mmtvr.video.cache.cached_reader import CachedReader
from mmtvr.video.cache.candidates import snap_to_spread, spread_in_segments
from mmtvr.video.cache.dry_cache import DryFrameCache
from mmtvr.video.cache.frame_cache import FrameCache, Query
from mmtvr.video.cache.versions import decoder_versions

__all__ = [
    'CachedReader',
    'DryFrameCache',
    'FrameCache',
    'Query',
    'decoder_versions',
    'snap_to_spread',
    'spread_in_segments',
]
