"""Loops, hooks and the optimiser groups that mmengine's runner builds."""

from mmtvr.engine.checkpointing import AtomicCheckpointHook
from mmtvr.engine.hooks.activity import ActivityHook, LoadingWorkersHook
from mmtvr.engine.hooks.explanation import ExplanationHook
from mmtvr.engine.hooks.frozen_features import FrozenFeaturesHook
from mmtvr.engine.hooks.logging import ResultTableHook, TrainingStatsHook
from mmtvr.engine.hooks.nonfinite import NonFiniteHook
from mmtvr.engine.hooks.run_summary import RunSummaryHook
from mmtvr.engine.hooks.unreadable_videos import UnreadableVideosHook
from mmtvr.engine.loops import (
    ResumableTrainLoop,
    RetrievalTestLoop,
    RetrievalValLoop,
)
from mmtvr.engine.optim import TwoRateConstructor
from mmtvr.engine.schedule import WarmupCosineLR

__all__ = [
    'ActivityHook',
    'AtomicCheckpointHook',
    'ExplanationHook',
    'FrozenFeaturesHook',
    'LoadingWorkersHook',
    'NonFiniteHook',
    'ResultTableHook',
    'ResumableTrainLoop',
    'RetrievalTestLoop',
    'RetrievalValLoop',
    'RunSummaryHook',
    'TrainingStatsHook',
    'TwoRateConstructor',
    'UnreadableVideosHook',
    'WarmupCosineLR',
]
