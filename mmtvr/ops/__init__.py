"""Pure tensor functions that encoders, heads and losses share."""

from mmtvr.ops.features import (
    autocast_off,
    features_of_frames,
    full_precision,
    to_unit,
    wide_dtype,
)
from mmtvr.ops.similarity import (
    BLOCK_BYTES,
    Neighbours,
    check_kernel,
    nearest_frames,
    text_blocks,
    token_directions,
    token_similarity,
)

__all__ = [
    'BLOCK_BYTES',
    'Neighbours',
    'autocast_off',
    'check_kernel',
    'features_of_frames',
    'full_precision',
    'nearest_frames',
    'text_blocks',
    'to_unit',
    'token_directions',
    'token_similarity',
    'wide_dtype',
]
