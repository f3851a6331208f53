"""Ranking, reports and the metrics of text-video retrieval."""

from mmtvr.evaluation.metrics import (
    RetrievalReport,
    SimilarityDump,
    TextVideoRecall,
)

__all__ = ['RetrievalReport', 'SimilarityDump', 'TextVideoRecall']
