"""Encoders, temporal modules, heads and the retriever that joins them."""

from .data_preprocessor import TextVideoPreprocessor
from .encoders import BackboneFrameEncoder, CLIPFrameEncoder, CLIPTextEncoder
from .heads import (
    CosineHead,
    DMAEHead,
    TokenWiseHead,
    XCLIPHead,
    XPoolHead,
)
from .partial_order import TPMCLLoss
from .retriever import TextVideoRetriever
from .temporal import FrameTransformer

__all__ = [
    'BackboneFrameEncoder',
    'CLIPFrameEncoder',
    'CLIPTextEncoder',
    'CosineHead',
    'DMAEHead',
    'FrameTransformer',
    'TPMCLLoss',
    'TextVideoPreprocessor',
    'TextVideoRetriever',
    'TokenWiseHead',
    'XCLIPHead',
    'XPoolHead',
]
