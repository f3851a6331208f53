"""Why a model gives a caption and a video their score, as plain numbers."""

from .structure import Explanation, Masking
from .word_names import find_piece_names

__all__ = ['Explanation', 'Masking', 'find_piece_names']
