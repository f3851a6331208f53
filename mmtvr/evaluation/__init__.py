"""Ranking, reports and the metrics of text-video retrieval."""

from mmtvr.evaluation.retrieval_report import RetrievalReport
from mmtvr.evaluation.similarity_dump import SimilarityDump
from mmtvr.evaluation.text_video_recall import TextVideoRecall

__all__ = ['RetrievalReport', 'SimilarityDump', 'TextVideoRecall']
