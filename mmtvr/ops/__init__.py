"""Pure tensor functions that heads and losses share."""

from .max_similarity import Neighbours
from .pair_blocks import text_blocks
from .precision import autocast_off, full_precision, wide_dtype
from .token_similarity import (
    nearest_frames,
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
