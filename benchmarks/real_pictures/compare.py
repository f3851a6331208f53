"""What each part brings on photographs and on animated emoji, over folds.

``extract`` computes the features of the frozen towers; ``tune`` tries the
settings of ``TRIALS`` on the validation part of each fold; ``test`` trains
with the best of them and tests each fold once, with several seeds; ``report``
writes the tables. A run is one row of ``tune.csv`` or ``test.csv``, written
when it is done: a stopped comparison goes on where it stopped.
"""

import argparse
import csv
import logging
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.runner import Runner

from benchmarks.real_pictures.baseline import Pairs, score_baseline
from benchmarks.real_pictures.report import ceiling, write_tables
from mmtvr.config import load_config
from mmtvr.datasets.annotations import read_annotations
from mmtvr.datasets.frozen_features import FeatureFile
from mmtvr.evaluation.ranking import ranks, text_to_video, video_to_text

ROOT = Path(__file__).resolve().parents[2]
FOLDS = range(5)
SPLITS = ('train', 'val', 'test')


class PictureSet(NamedTuple):
    """One set of pictures with captions.

    Attributes:
        recipe: What its configs are called.
        captions: Folder of its annotation files.
        languages: Further folders, of which the test files are tested too.
        tuned_on: The set whose tuning it uses, if not its own.
    """

    recipe: str
    captions: str
    languages: tuple[str, ...] = ()
    tuned_on: str | None = None


SETS = {
    'exercises': PictureSet('exercises', 'short'),
    'exercises-long': PictureSet('exercises', 'long', tuned_on='exercises'),
    'emoji': PictureSet(
        'emoji', 'en', ('de', 'es', 'fr', 'ja', 'zh', 'ru')
    ),
}
BASELINE = 'tfidf'
INFO_NCE = {
    'model.contrastive_loss._delete_': True,
    'model.contrastive_loss.type': 'mmtvr.InfoNCELoss',
}
#: Name in the tables, config, and what differs from it. Recipes count key
#: words twice; the interactions of the older methods do not.
VARIANTS: dict[str, tuple[str, str, dict[str, object]]] = {
    'clip4clip': ('mean pooling (CLIP4Clip)', 'clip4clip', {}),
    'ti': (
        'sentence level (TI as released)',
        'dmae',
        {
            **INFO_NCE,
            'model.head.levels': ('sentence',),
            'model.head.visual_attention': 0.0,
        },
    ),
    'wti': (
        'word level, learned weights (WTI of DRL)',
        'dmae',
        {
            **INFO_NCE,
            'model.head.levels': ('word',),
            'model.head.weighting': 'learned',
            'model.head.hidden_layers': 1,
            'model.head.visual_attention': 0.0,
        },
    ),
    'word': (
        'word level alone (TI of DRL)',
        'dmae',
        {
            **INFO_NCE,
            'model.head.levels': ('word',),
            'model.head.visual_attention': 0.0,
        },
    ),
    'dmae': ('DMAE, InfoNCE', 'dmae', INFO_NCE),
    'negnce': ('+ NegNCE', 'dmae', {}),
    'tpmcl': ('+ TPM-CL', 'tpmcl', {}),
}
NAMES = {
    BASELINE: 'TF-IDF + EfficientNet',
    **{key: name for key, (name, _, _) in VARIANTS.items()},
}
COLUMNS = (
    *('set', 'variant', 'fold', 'seed', 'trial'),
    *('R1', 'R5', 'R10', 'v2t_R1', 'v2t_R5', 'v2t_R10', 'MRR', 'seconds'),
    *('ranks', 'v2t_ranks'),
)
