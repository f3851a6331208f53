"""Triplet partial margin contrastive learning on matched pairs."""

from mmtvr.models.partial_order.importance import ImportancePredictor
from mmtvr.models.partial_order.tpmcl_loss import (
    PartialPairs,
    TPMCLLoss,
    keep_less_important,
    pair_similarity,
    triplet_similarities,
)

__all__ = [
    'ImportancePredictor',
    'PartialPairs',
    'TPMCLLoss',
    'keep_less_important',
    'pair_similarity',
    'triplet_similarities',
]
