"""Ranking and the metric of text-video retrieval."""

from mmtvr.evaluation.similarity_dump import SimilarityDump
from mmtvr.evaluation.text_video_recall import TextVideoRecall

__all__ = ['SimilarityDump', 'TextVideoRecall']
