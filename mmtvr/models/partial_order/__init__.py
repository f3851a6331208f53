"""Triplet partial margin contrastive learning on matched pairs."""

from .importance import ImportancePredictor
from .selection import keep_less_important
from .tpmcl_loss import TPMCLLoss
from .triplets import PartialPairs, pair_similarity, triplet_similarities

__all__ = [
    'ImportancePredictor',
    'PartialPairs',
    'TPMCLLoss',
    'keep_less_important',
    'pair_similarity',
    'triplet_similarities',
]
