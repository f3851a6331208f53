"""Encoders, temporal modules, heads and the retriever that joins them."""

from mmtvr.models.encoders import (
    BackboneFrameEncoder,
    CLIPFrameEncoder,
    CLIPTextEncoder,
    DualFrameEncoder,
    DualTextEncoder,
)
from mmtvr.models.heads import (
    CosineHead,
    DMAEHead,
    TokenWiseHead,
    XCLIPHead,
    XPoolHead,
)
from mmtvr.models.partial_order import TPMCLLoss
from mmtvr.models.preprocessor import TextVideoPreprocessor
from mmtvr.models.retriever import TextVideoRetriever
from mmtvr.models.temporal import FrameTransformer

__all__ = [
    'BackboneFrameEncoder',
    'CLIPFrameEncoder',
    'CLIPTextEncoder',
    'CosineHead',
    'DMAEHead',
    'DualFrameEncoder',
    'DualTextEncoder',
    'FrameTransformer',
    'TPMCLLoss',
    'TextVideoPreprocessor',
    'TextVideoRetriever',
    'TokenWiseHead',
    'XCLIPHead',
    'XPoolHead',
]
