"""Pure tensor functions that heads and losses share."""

from mmtvr.ops.precision import autocast_off, full_precision, wide_dtype
from mmtvr.ops.similarity import (
    Neighbours,
    nearest_frames,
    text_blocks,
    token_directions,
    token_similarity,
)

__all__ = [
    'Neighbours',
    'autocast_off',
    'full_precision',
    'nearest_frames',
    'text_blocks',
    'token_directions',
    'token_similarity',
    'wide_dtype',
]
