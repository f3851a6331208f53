"""Loops, hooks and the optimiser groups that mmengine's runner builds."""

from mmtvr.engine.activity_hook import ActivityHook
from mmtvr.engine.atomic_checkpoint_hook import AtomicCheckpointHook
from mmtvr.engine.explanation_hook import ExplanationHook
from mmtvr.engine.loading_workers_hook import LoadingWorkersHook
from mmtvr.engine.loops import RetrievalTestLoop, RetrievalValLoop
from mmtvr.engine.nonfinite_hook import NonFiniteHook
from mmtvr.engine.result_table_hook import ResultTableHook
from mmtvr.engine.resumable_train_loop import ResumableTrainLoop
from mmtvr.engine.training_stats_hook import TrainingStatsHook
from mmtvr.engine.two_rate_constructor import TwoRateConstructor
from mmtvr.engine.unreadable_videos_hook import UnreadableVideosHook

__all__ = [
    'ActivityHook',
    'AtomicCheckpointHook',
    'ExplanationHook',
    'LoadingWorkersHook',
    'NonFiniteHook',
    'ResultTableHook',
    'ResumableTrainLoop',
    'RetrievalTestLoop',
    'RetrievalValLoop',
    'TrainingStatsHook',
    'TwoRateConstructor',
    'UnreadableVideosHook',
]
