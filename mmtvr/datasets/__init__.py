"""Datasets and the transforms that prepare their samples."""

import lazy_loader

# Captions are prepared without decoders, and a query without datasets.
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        'moving_shapes': ['MovingShapesDataset'],
        'readers': ['get_reader'],
        'samplers': [
            'NeighbourSampler',
            'ResumableBatchSampler',
            'SeededDataset',
            'stack_samples',
        ],
        'text_video': ['TextVideoDataset'],
        'transforms': [
            'DropUnimportantWords',
            'LoadVideoFrames',
            'PackTextVideo',
            'TagKeyWords',
            'TokenizeText',
        ],
    },
)
