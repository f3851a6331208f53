"""Why a model gives a caption and a video their score, as plain numbers."""

from .structure import Explanation, Masking, Scene
from .word_names import PieceNames, find_piece_names

__all__ = [
    'Explanation',
    'Masking',
    'PieceNames',
    'Scene',
    'find_piece_names',
]
