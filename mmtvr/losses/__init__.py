"""Contrastive losses: pure functions of ``sim`` and ``match``, and classes."""

from .hard_negative_nce import HardNegativeNCELoss, hard_negative_nce
from .info_nce import InfoNCELoss, info_nce
from .match import positive_pairs
from .max_margin import MaxMarginLoss, max_margin
from .neg_nce import NegNCELoss, neg_nce
from .sigmoid import SigmoidLoss, sigmoid_contrast

__all__ = [
    'HardNegativeNCELoss',
    'InfoNCELoss',
    'MaxMarginLoss',
    'NegNCELoss',
    'SigmoidLoss',
    'hard_negative_nce',
    'info_nce',
    'max_margin',
    'neg_nce',
    'positive_pairs',
    'sigmoid_contrast',
]
