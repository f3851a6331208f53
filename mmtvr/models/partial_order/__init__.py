"""Partial versions of matched pairs: TPM-CL, and its successor."""

from mmtvr.models.partial_order.importance import ImportancePredictor
from mmtvr.models.partial_order.maskers import (
    ImportanceMasker,
    KeyWordMasker,
    RandomMasker,
    SpanMasker,
)
from mmtvr.models.partial_order.order_loss import (
    PartialOrderLoss,
    partial_order,
)
from mmtvr.models.partial_order.tpmcl_loss import (
    PartialPairs,
    TPMCLLoss,
    keep_less_important,
    pair_similarity,
    triplet_similarities,
)

__all__ = [
    'ImportanceMasker',
    'ImportancePredictor',
    'KeyWordMasker',
    'PartialOrderLoss',
    'PartialPairs',
    'RandomMasker',
    'SpanMasker',
    'TPMCLLoss',
    'keep_less_important',
    'pair_similarity',
    'partial_order',
    'triplet_similarities',
]
