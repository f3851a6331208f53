"""Heads: two bags of unit vectors in, a text-by-video similarity out."""

from .cosine_head import CosineHead
from .dmae_head import DMAEHead
from .token_wise_head import TokenWiseHead
from .xclip_head import XCLIPHead
from .xpool_head import XPoolHead

__all__ = ['CosineHead', 'DMAEHead', 'TokenWiseHead', 'XCLIPHead', 'XPoolHead']
