"""Encoders, temporal modules, heads and the retriever that joins them."""

import lazy_loader

# A query needs neither the losses of a training nor all encoders.
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        'distillation': ['DistilledRetriever', 'FrameAggregation'],
        'encoders': [
            'BackboneFrameEncoder',
            'CLIPFrameEncoder',
            'CLIPTextEncoder',
            'DualFrameEncoder',
            'DualTextEncoder',
            'ImageTower',
            'TextTower',
        ],
        'heads': [
            'CosineHead',
            'DMAEHead',
            'TokenWiseHead',
            'VideoColBERTHead',
            'XCLIPHead',
            'XPoolHead',
        ],
        'partial_order': [
            'ImportanceMasker',
            'KeyWordMasker',
            'PartialOrderLoss',
            'RandomMasker',
            'SpanMasker',
            'TPMCLLoss',
        ],
        'preprocessor': ['TextVideoPreprocessor'],
        'retriever': ['TextVideoRetriever'],
        'temporal': ['FrameTransformer', 'ResidualFrameTransformer'],
    },
)
