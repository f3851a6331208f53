"""Contrastive losses: pure functions of ``sim`` and ``match``, and classes."""

from .info_nce import InfoNCELoss, info_nce
from .match import positive_pairs
from .neg_nce import NegNCELoss, neg_nce

__all__ = [
    'InfoNCELoss',
    'NegNCELoss',
    'info_nce',
    'neg_nce',
    'positive_pairs',
]
