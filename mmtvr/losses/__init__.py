"""Contrastive losses: pure functions of ``sim`` and ``match``, and classes."""

from mmtvr.losses.distillation import (
    DistillationLoss,
    frame_distillation,
    pearson_distance,
    similarity_distillation,
)
from mmtvr.losses.dual_sigmoid import DualSigmoidLoss
from mmtvr.losses.hard_negative_nce import (
    HardNegativeNCELoss,
    hard_negative_nce,
)
from mmtvr.losses.info_nce import InfoNCELoss, info_nce
from mmtvr.losses.match import positive_pairs
from mmtvr.losses.max_margin import MaxMarginLoss, max_margin
from mmtvr.losses.neg_nce import NegNCELoss, neg_nce
from mmtvr.losses.sigmoid import SigmoidLoss, sigmoid_contrast

__all__ = [
    'DistillationLoss',
    'DualSigmoidLoss',
    'HardNegativeNCELoss',
    'InfoNCELoss',
    'MaxMarginLoss',
    'NegNCELoss',
    'SigmoidLoss',
    'frame_distillation',
    'hard_negative_nce',
    'info_nce',
    'max_margin',
    'neg_nce',
    'pearson_distance',
    'positive_pairs',
    'sigmoid_contrast',
    'similarity_distillation',
]
