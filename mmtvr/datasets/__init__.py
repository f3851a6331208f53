"""Datasets and the transforms that prepare their samples."""

from mmtvr.lazy import export_lazily

# Captions are prepared without decoders, and a query without datasets.
__getattr__, __dir__, __all__ = export_lazily(
    __name__,
    {
        'moving_shapes': ['MovingShapesDataset'],
        'readers': ['get_reader'],
        'samplers': [
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
