"""Transforms from an annotation to what a model takes."""

import lazy_loader

# Captions are prepared without decoders.
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        'keywords': ['DropUnimportantWords', 'TagKeyWords'],
        'packing': ['PackTextVideo'],
        'text': ['TokenizeText'],
        'video': ['LoadVideoFrames'],
    },
)
