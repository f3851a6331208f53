"""Encoders, temporal modules, heads and the retriever that joins them."""

from mmtvr.models import encoders, heads
from mmtvr.models.encoders import *  # noqa: F403
from mmtvr.models.heads import *  # noqa: F403
from mmtvr.models.partial_order import TPMCLLoss
from mmtvr.models.preprocessor import TextVideoPreprocessor
from mmtvr.models.retriever import TextVideoRetriever
from mmtvr.models.temporal import FrameTransformer

__all__ = [
    *encoders.__all__,
    *heads.__all__,
    'FrameTransformer',
    'TPMCLLoss',
    'TextVideoPreprocessor',
    'TextVideoRetriever',
]
