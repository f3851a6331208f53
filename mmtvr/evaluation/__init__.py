"""Ranking, reports and the metrics of text-video retrieval."""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from mmtvr.evaluation.metrics import RetrievalReport as RetrievalReport
    from mmtvr.evaluation.metrics import SimilarityDump as SimilarityDump
    from mmtvr.evaluation.metrics import TextVideoRecall as TextVideoRecall

# The command line names protocols and formats without PyTorch.
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        'metrics': ['RetrievalReport', 'SimilarityDump', 'TextVideoRecall'],
    },
)
