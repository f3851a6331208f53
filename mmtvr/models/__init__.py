"""Encoders, temporal modules, heads and the retriever that joins them."""

from mmtvr.lazy import export_lazily

# A query needs neither the losses of a training nor all encoders.
__getattr__, __dir__, __all__ = export_lazily(
    __name__,
    {
        'encoders': [
            'BackboneFrameEncoder',
            'CLIPFrameEncoder',
            'CLIPTextEncoder',
        ],
        'heads': [
            'CosineHead',
            'DMAEHead',
            'TokenWiseHead',
            'XCLIPHead',
            'XPoolHead',
        ],
        'partial_order': ['TPMCLLoss'],
        'preprocessor': ['TextVideoPreprocessor'],
        'retriever': ['TextVideoRetriever'],
        'temporal': ['FrameTransformer'],
    },
)
