"""From the original annotation files of each data set to one JSON layout.

One module per data set, each with pure functions that read what the authors
published and return splits of :class:`VideoCaptions`. ``tools/data/`` holds
the commands.
"""

from mmtvr.datasets.annotations import (
    CleaningReport,
    VideoCaptions,
    clean_captions,
    write_annotation,
)

__all__ = [
    'CleaningReport',
    'VideoCaptions',
    'clean_captions',
    'write_annotation',
]
