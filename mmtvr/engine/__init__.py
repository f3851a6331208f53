"""Loops and hooks that mmengine's runner builds."""

from mmtvr.engine.loops import RetrievalTestLoop, RetrievalValLoop
from mmtvr.engine.result_table_hook import ResultTableHook
from mmtvr.engine.training_stats_hook import TrainingStatsHook

__all__ = [
    'ResultTableHook',
    'RetrievalTestLoop',
    'RetrievalValLoop',
    'TrainingStatsHook',
]
