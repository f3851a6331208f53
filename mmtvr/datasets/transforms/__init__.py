"""Transforms from an annotation to what a model takes."""

from mmtvr.lazy import export_lazily

# Captions are prepared without decoders.
__getattr__, __dir__, __all__ = export_lazily(
    __name__,
    {
        'keywords': ['DropUnimportantWords', 'TagKeyWords'],
        'packing': ['PackTextVideo'],
        'text': ['TokenizeText'],
        'video': ['LoadVideoFrames'],
    },
)
