"""What each part brings on photographs and on animated emoji, over folds.

``extract`` computes the features of the frozen towers; ``tune`` tries the
settings of ``TRIALS`` on the validation part of ``TUNING_FOLDS``; ``test``
trains with the best of them and tests each fold once, with several seeds;
``report`` writes the tables. A run is one row of ``tune.csv`` or ``test.csv``,
written when it is done: a stopped comparison goes on where it stopped.
"""

import argparse
import copy
import csv
import io
import json
import math
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS
from mmengine.runner import set_random_seed
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from benchmarks.real_pictures.baseline import WARM_UP, Pairs, score_baseline
from benchmarks.real_pictures.report import (
    ceiling,
    write_fine_grained,
    write_languages,
    write_tables,
)
from benchmarks.real_pictures.stored import (
    Features,
    make_inputs,
    make_texts,
    make_videos,
    pack_captions,
    read_folds,
    select,
)
from mmtvr.config import load_config
from mmtvr.datasets.annotations import VideoCaptions, read_annotations
from mmtvr.evaluation.fine_grained import (
    FineGrainedReport,
    FineGrainedSet,
    evaluate_fine_grained,
    read_fine_grained,
)
from mmtvr.evaluation.ranking import ranks, text_to_video, video_to_text

ROOT = Path(__file__).resolve().parents[2]
FOLDS = range(5)
SPLITS = ('train', 'val', 'test')


class PictureSet(NamedTuple):
    """One set of pictures with captions.

    Attributes:
        recipe: What its configs are called.
        root: Folder of the prepared set.
        captions: Folder of its annotation files.
        languages: Further folders, of which the test files are tested too.
        tuned_on: The set whose tuning it uses, if not its own.
    """

    recipe: str
    root: str
    captions: str
    languages: tuple[str, ...] = ()
    tuned_on: str | None = None

    def annotation(self, fold: int, split: str) -> str:
        """Name of an annotation file."""
        return f'{self.captions}/fold{fold}_{split}.json'


SETS = {
    'exercises': PictureSet('exercises', 'exercises', 'short'),
    'exercises-long': PictureSet(
        'exercises_long', 'exercises', 'long', tuned_on='exercises'
    ),
    'emoji': PictureSet(
        'emoji', 'emoji', 'en', ('de', 'es', 'fr', 'ja', 'zh', 'ru')
    ),
}
BASELINE = 'tfidf'
INFO_NCE = {'model.contrastive_loss.type': 'mmtvr.InfoNCELoss'}
NO_ATTENTION = {'model.head.visual_attention': 0.0}
PLAIN = {**INFO_NCE, **NO_ATTENTION}
# The background is used by the variants of EVIDENCE alone.
WORDS = {
    'model.head.levels': ('word',),
    'model.head.background': 64,
    'model.head.background_tokens': 24,
}


class Variant(NamedTuple):
    """What is compared.

    Attributes:
        name: As the tables call it.
        method: First part of the name of its configs.
        options: What differs from the config.
        key_words: Whether key words count twice, where words are looked at.
    """

    name: str
    method: str
    options: dict[str, object] = {}
    key_words: bool = True


VARIANTS = {
    'clip4clip': Variant('mean pooling (CLIP4Clip)', 'clip4clip'),
    'ti': Variant(
        'sentence level (TI as released)',
        'dmae',
        {**PLAIN, 'model.head.levels': ('sentence',)},
    ),
    'word': Variant(
        'word level alone (TI of DRL)', 'dmae', {**PLAIN, **WORDS}
    ),
    'wti': Variant(
        'word level, learned weights (WTI)',
        'dmae',
        {
            **PLAIN,
            **WORDS,
            'model.head.weighting': 'learned',
            'model.head.hidden_layers': 1,
        },
    ),
    'dmae': Variant('DMAE with InfoNCE', 'dmae', INFO_NCE),
    'negnce': Variant('DMAE with NegNCE', 'dmae'),
    'tpmcl': Variant('+ TPM-CL', 'tpmcl'),
    'word-alike': Variant(
        'word level, no key words',
        'dmae',
        {**PLAIN, **WORDS},
        key_words=False,
    ),
    'word-negnce': Variant(
        'word level, NegNCE', 'dmae', {**WORDS, **NO_ATTENTION}
    ),
    'word-attention': Variant(
        'word level, visual attention', 'dmae', {**INFO_NCE, **WORDS}
    ),
    'word-tpmcl': Variant(
        'word level, TPM-CL as released', 'tpmcl', {**PLAIN, **WORDS}
    ),
    'word-order': Variant(
        'word level, partial order',
        'dmae',
        {
            **PLAIN,
            **WORDS,
            'model.partial_loss': dict(
                type='mmtvr.PartialOrderLoss',
                text_masker=dict(type='mmtvr.SpanMasker', share=0.4),
                negatives='same side',
                full_weight=3.0,
                share=0.5,
                loss_weight=0.3,
            ),
        },
    ),
}
#: How the sentence and the words of DMAE combine, all else as at word level.
VARIANTS |= {
    f'levels-{weights}': Variant(
        f'both levels, {weights} weights',
        'dmae',
        {**PLAIN, 'model.head.level_weights': weights},
    )
    for weights in ('equal', 'learned', 'gated')
}
#: The same weights, ranked by evidence beyond the background.
EVIDENCE = {
    key: f'{key}-evidence' for key in ('word', 'word-order', 'word-tpmcl')
}
EVIDENCE_POWER = 0.25
#: The text tower learns too, at a rate of its own.
TUNED = {
    'model.text_encoder.frozen': False,
    'optim_wrapper.paramwise_cfg.slow': ('text_encoder.model',),
    'optim_wrapper.paramwise_cfg.slow_lr_mult': 0.0125,
}
VARIANTS |= {
    f'{key}-tuned': Variant(
        f'{VARIANTS[key].name}, text tower tuned',
        VARIANTS[key].method,
        {**VARIANTS[key].options, **TUNED},
    )
    for key in ('word', 'negnce')
}
NAMES = {
    BASELINE: 'TF-IDF + EfficientNet',
    **{key: variant.name for key, variant in VARIANTS.items()},
    **{
        ranked: f'{VARIANTS[key].name}, evidence'
        for key, ranked in EVIDENCE.items()
    },
}
#: Of the sets that the prepare scripts write beside the annotation files.
FINE_GRAINED = (
    *('order', 'full_over_partial', 'partial_over_other'),
    *('group_score', 'text_choice', 'video_choice'),
)
#: Those of the tables, and the variant that they are compared with.
MEASURES = dict(
    order='order',
    full_over_partial='full > partial',
    partial_over_other='partial > other',
    group_score='group',
)
FINE_REFERENCE = 'word'
COLUMNS = (
    *('set', 'variant', 'fold', 'seed', 'trial'),
    *('R1', 'R5', 'R10', 'v2t_R1', 'v2t_R5', 'v2t_R10', 'MRR', 'seconds'),
    *('ranks', 'v2t_ranks'),
    *(*FINE_GRAINED, *(f'{name}_items' for name in FINE_GRAINED)),
)


# What is tried, as many for every variant: the rate. Epochs, batch and width
# were fixed beforehand, by a look at the validation part of folds 0 and 1 of
# the exercises at word level.
TRIALS = tuple({'optim_wrapper.optimizer.lr': lr} for lr in (2e-3, 6e-3))
TUNING_FOLDS = FOLDS[:2]
BASELINE_TRIALS = tuple(
    dict(width=256, lr=lr, epochs=epochs, drop=drop, scale=20.0)
    for lr, epochs, drop in (
        (3e-3, 40, 0.0),
        (3e-3, 40, 0.3),
    )
)


class Task(NamedTuple):
    """One training and the test after it.

    Attributes:
        data: Key of ``SETS``.
        variant: Key of ``NAMES``.
        fold: Number of the fold.
        seed: Seed of weights and order.
        trial: Number in ``TRIALS``.
    """

    data: str
    variant: str
    fold: int
    seed: int
    trial: int


class Folders(NamedTuple):
    """Where things are.

    Attributes:
        data: Holds ``exercises/`` and ``emoji/``, as prepared.
        out: Gets features, results and tables.
    """

    data: Path
    out: Path

    def root(self, data: str) -> Path:
        """Folder of the prepared set."""
        return self.data / SETS[data].root

    def features(self, data: str, fold: int) -> Path:
        """Folder of the features of the test of a fold."""
        return self.out / 'features' / data / f'fold{fold}'

    def stored(self, data: str) -> tuple[Features, Features]:
        """Features of all videos and captions."""
        root, chosen = self.root(data), SETS[data]
        return read_folds(
            tuple(root / chosen.annotation(fold, 'test') for fold in FOLDS),
            tuple(
                self.features(data, fold) / 'test.safetensors'
                for fold in FOLDS
            ),
        )

    def fine_grained(self, data: str, fold: int, split: str) -> FineGrainedSet:
        """Partial captions and twins of a split."""
        name = f'{SETS[data].captions}/fold{fold}_{split}_fine-grained.json'
        return read_fine_grained(self.root(data) / name)

    def videos(
        self, data: str, fold: int, split: str, captions: str | None = None
    ) -> list[VideoCaptions]:
        """Videos and captions of a split, perhaps of another language."""
        chosen = SETS[data]
        if captions is not None:
            chosen = chosen._replace(captions=captions)
        return read_annotations(
            self.root(data) / chosen.annotation(fold, split)
        )


def data_options(data: str, fold: int, folders: Folders) -> dict[str, object]:
    """Options that choose set, captions and fold."""
    root = str(folders.root(data))
    return {
        f'{split}_dataloader.dataset.{key}': value
        for split in SPLITS
        for key, value in (
            ('data_root', root),
            ('ann_file', SETS[data].annotation(fold, split)),
        )
    }


def recipe(data: str, variant: str) -> Path:
    """Config of a variant."""
    method = VARIANTS[variant].method
    return ROOT / f'configs/{method}_{SETS[data].recipe}.py'


@cache
def build_tower(config: str) -> nn.Module:
    """A pretrained tower, which all trainings share while it is frozen."""
    return MODELS.build(json.loads(config))


def build_model(config: Mapping[str, Any], seed: int) -> nn.Module:
    """A retriever with fresh projections, heads and temperature."""
    set_random_seed(seed)
    towers = {}
    for side in ('text_encoder', 'frame_encoder'):
        tower = build_tower(json.dumps(config[side]))
        if not config[side]['frozen']:
            tower = copy.deepcopy(tower)
        for name in tower.projections:
            tower.get_submodule(name).reset_parameters()
        towers[side] = tower
    return MODELS.build({**config, **towers})


class Scores(NamedTuple):
    """What a model gives to the captions of a split.

    Attributes:
        tables: Scores (B, V) of each folder of captions, texts as rows.
        fine_grained: Its evaluation on fine-grained captions.
    """

    tables: dict[str, np.ndarray]
    fine_grained: FineGrainedReport


def train_model(
    task: Task, folders: Folders
) -> tuple[nn.Module, Config, Features]:
    """Train one model.

    Model, loss, rates and batches are those of the recipe. The loop is
    written out: a runner of mmengine takes longer to print its config than
    such a training takes.

    Returns:
        The model, its config, and the features of captions that it takes.
    """
    options = VARIANTS[task.variant].options | TRIALS[task.trial]
    options |= data_options(task.data, task.fold, folders)
    cfg = load_config(str(recipe(task.data, task.variant)), options)
    model = build_model(cfg.model.to_dict(), task.seed)
    videos, captions = folders.stored(task.data)
    if not VARIANTS[task.variant].key_words:
        captions = without_weights(captions)
    inputs = make_inputs(
        folders.videos(task.data, task.fold, 'train'),
        videos,
        captions if cfg.model.text_encoder.frozen else cfg.test_pipeline,
        cfg.test_pipeline if has_partial_captions(cfg) else None,
    )
    fit(model, cfg, inputs)
    return model, cfg, captions


def train(task: Task, folders: Folders, split: str) -> dict[str, Scores]:
    """Train one model and score a split, by variant."""
    model, cfg, captions = train_model(task, folders)
    videos, _ = folders.stored(task.data)
    weights = VARIANTS[task.variant].key_words
    own = SETS[task.data].captions
    tests = {own: folders.videos(task.data, task.fold, split)}
    if split == 'test':
        tests |= {
            language: folders.videos(task.data, task.fold, split, language)
            for language in SETS[task.data].languages
        }

    def score_captions(
        texts: Sequence[str], records: Sequence[VideoCaptions]
    ) -> np.ndarray:
        encoded: Any = cfg.test_pipeline
        if cfg.model.text_encoder.frozen:
            encoded = captions
            if not set(texts) <= set(encoded):
                encoded = encode_captions(
                    tuple(texts),
                    json.dumps(cfg.model.text_encoder.to_dict()),
                    json.dumps(cfg.test_pipeline),
                )
                if not weights:
                    encoded = without_weights(encoded)
        return score(
            model, make_texts(texts, encoded), make_videos(records, videos)
        )

    def score_all() -> Scores:
        chosen = folders.fine_grained(task.data, task.fold, split)
        table = score_captions(chosen.texts, tests[own])
        return Scores(
            {
                language: score_captions(
                    [record.captions[0] for record in records], records
                )
                for language, records in tests.items()
            },
            evaluate_fine_grained(chosen, torch.from_numpy(table)),
        )

    found = {task.variant: score_all()}
    if task.variant in EVIDENCE:
        model.head.evidence = EVIDENCE_POWER
        found[EVIDENCE[task.variant]] = score_all()
    return found


def without_weights(captions: Features) -> Features:
    """The same captions, all of whose words count alike."""
    return {
        caption: {key: each for key, each in found.items() if key != 'weight'}
        for caption, found in captions.items()
    }


def has_partial_captions(cfg: Config) -> bool:
    """Whether a loss takes words from captions, which are encoded again."""
    partial_loss = cfg.model.get('partial_loss') or {}
    return partial_loss.get('text_masker') is not None


@cache
@torch.no_grad()
def encode_captions(
    captions: tuple[str, ...], tower: str, pipeline: str
) -> dict[str, dict[str, Tensor]]:
    """Features of the frozen text tower, of captions that are not stored.

    Args:
        captions: The captions.
        tower: Config of the tower, as JSON.
        pipeline: The transforms of the config, as JSON.
    """
    inputs = pack_captions(captions, json.loads(pipeline))
    raw = (
        build_tower(tower)
        .eval()
        .extract(
            inputs['tokens'], inputs['token_mask'], inputs.get('token_weight')
        )
    )
    return {
        caption: {
            name: each[row]
            for name, each in raw._asdict().items()
            if each is not None
        }
        for row, caption in enumerate(captions)
    }


def fit(model: nn.Module, cfg: Config, inputs: Mapping[str, Tensor]) -> None:
    """Train as the config says."""
    size = len(inputs['token_mask'])
    batch_size = cfg.train_dataloader.batch_size
    steps = cfg.train_cfg.max_epochs * (size // batch_size)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    schedule = LambdaLR(wrapper.optimizer, partial(rate, steps=steps))
    model.train()
    ids = torch.arange(batch_size)
    for _ in range(cfg.train_cfg.max_epochs):
        order = torch.randperm(size)
        for rows in order.split(batch_size)[: size // batch_size]:
            batch = select(inputs, rows)
            batch |= dict(video_of_text=ids, video_ids=ids)
            frames = model.extract_frames(batch)
            losses = model.training_losses(
                batch,
                model.extract_text(batch),
                frames,
                model.mix_frames(frames),
            )
            loss, _ = model.parse_losses(losses)
            wrapper.update_params(loss)
            schedule.step()


def rate(step: int, steps: int) -> float:
    """Factor of the rate: 10 % warm-up, then a cosine to zero."""
    warm_up = WARM_UP * steps
    if step < warm_up:
        return (step + 1) / (warm_up + 1)
    return (1 + math.cos(math.pi * (step - warm_up) / (steps - warm_up))) / 2


@torch.no_grad()
def score(
    model: nn.Module,
    texts: Mapping[str, Tensor],
    videos: Mapping[str, Tensor],
) -> np.ndarray:
    """Compare all captions with all videos."""
    model.eval()
    texts = select(texts, torch.arange(len(texts['token_mask'])))
    text, video = model.extract_text(texts), model.extract_video(videos)
    return model.similarity(text, video).numpy()


def train_baseline(
    task: Task, folders: Folders, split: str
) -> dict[str, Scores]:
    """The same of TF-IDF and pooled image features."""
    stored, _ = folders.stored(task.data)
    fine_grained = folders.fine_grained(task.data, task.fold, split)
    pairs = []
    for part in ('train', split):
        videos = folders.videos(task.data, task.fold, part)
        images = [stored[v.file]['pooled'].float().mean(0) for v in videos]
        captions = [video.captions[0] for video in videos]
        pairs.append(Pairs(captions, torch.stack(images)))
    both = [*pairs[1].captions, *fine_grained.texts]
    scores = score_baseline(
        pairs[0],
        pairs[1]._replace(captions=both),
        BASELINE_TRIALS[task.trial],
        task.seed,
    )
    table, other = scores.split([len(videos), len(fine_grained.texts)])
    scored = Scores(
        {SETS[task.data].captions: table.numpy()},
        evaluate_fine_grained(fine_grained, other),
    )
    return {BASELINE: scored}


def make_row(
    task: Task, captions: str, scores: np.ndarray, seconds: float
) -> dict[str, object]:
    """Ranks and recalls of a square table whose diagonal is right."""
    table = torch.from_numpy(scores)
    ids = torch.arange(len(table))
    there = ranks(text_to_video(table, ids, ids)).numpy()
    back = ranks(video_to_text(table, ids, ids)).numpy()
    data = task.data
    if captions != SETS[data].captions:
        data = f'{data}-{captions}'
    row = dict(task._asdict(), set=data, seconds=round(seconds, 1))
    del row['data']
    for prefix, found in (('', there), ('v2t_', back)):
        for k in (1, 5, 10):
            recall = 100 * np.clip(k + 1 - found, 0, 1).mean()
            row[f'{prefix}R{k}'] = round(float(recall), 2)
        row[f'{prefix}ranks'] = ' '.join(f'{rank:g}' for rank in found)
    row['MRR'] = round(50 * float((1 / there).mean() + (1 / back).mean()), 3)
    return row


def describe(report: FineGrainedReport) -> dict[str, object]:
    """Means, and values of the videos, of the fine-grained measures."""
    found: dict[str, object] = {}
    for name in FINE_GRAINED:
        values = list(report.by_video.get(name, {}).values())
        if values:
            found[name] = round(report.value(name), 2)
            found[f'{name}_items'] = ' '.join(f'{v:g}' for v in values)
    return found


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read the runs that are done."""
    if not path.is_file():
        return []
    with path.open(newline='', encoding='utf-8') as file:
        return list(csv.DictReader(file))


def append_rows(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Add the rows of one run to the file, all or none."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS)
    if not path.is_file():
        writer.writeheader()
    writer.writerows(rows)
    with path.open('a', newline='', encoding='utf-8') as file:
        file.write(text.getvalue())


def run_tasks(
    tasks: Sequence[Task], folders: Folders, path: Path, split: str
) -> None:
    """Run what is not done yet."""
    done = {
        (
            row['set'],
            row['variant'],
            int(row['fold']),
            int(row['seed']),
            int(row['trial']),
        )
        for row in read_rows(path)
    }
    tasks = [task for task in tasks if tuple(task) not in done]
    for number, task in enumerate(tasks, 1):
        start = time.monotonic()
        function = train_baseline if task.variant == BASELINE else train
        found = function(task, folders, split)
        seconds = time.monotonic() - start
        rows = []
        for variant, scored in found.items():
            of_variant = [
                make_row(
                    task._replace(variant=variant), captions, scores, seconds
                )
                for captions, scores in scored.tables.items()
            ]
            of_variant[0] |= describe(scored.fine_grained)
            rows += of_variant
        append_rows(path, rows)
        print(
            f'{number}/{len(tasks)}  {task.data}, {task.variant}, fold '
            f'{task.fold}, seed {task.seed}, trial {task.trial}: R@1 '
            f'{rows[0]["R1"]:.1f}, {seconds:.1f} s',
            flush=True,
        )


def choose_trials(
    rows: Sequence[Mapping[str, str]],
) -> dict[tuple[str, str], int]:
    """The best trial of each set and variant.

    Best is the highest mean reciprocal rank, over both directions and the
    tuning folds, on their validation parts.
    """
    found: dict[tuple[str, str], dict[int, list[float]]] = {}
    for row in rows:
        trials = found.setdefault((row['set'], row['variant']), {})
        trials.setdefault(int(row['trial']), []).append(float(row['MRR']))
    return {
        key: max(trials, key=lambda trial: np.mean(trials[trial]))
        for key, trials in found.items()
    }


def extract(folders: Folders, names: Sequence[str]) -> None:
    """Compute the features of all test folds by ``tools/extract.py``."""
    for name in names:
        for fold in FOLDS:
            options = data_options(name, fold, folders)
            done = subprocess.run(
                [
                    *(sys.executable, str(ROOT / 'tools/extract.py')),
                    *(recipe(name, 'clip4clip'), folders.features(name, fold)),
                    *('--split', 'test', '--cfg-options'),
                    *(f'{key}={value}' for key, value in options.items()),
                ]
            )
            if done.returncode:
                raise SystemExit(done.returncode)


def list_tasks(
    stage: str,
    names: Sequence[str],
    variants: Sequence[str],
    seeds: Sequence[int],
    folders: Folders,
) -> list[Task]:
    """What ``tune`` or ``test`` runs, seeds and folds in turn."""
    if stage == 'tune':
        return [
            Task(name, variant, fold, 0, trial)
            for name in names
            if SETS[name].tuned_on is None
            for trial in range(len(TRIALS))
            for fold in TUNING_FOLDS
            for variant in variants
        ]
    chosen = choose_trials(read_rows(folders.out / 'tune.csv'))
    return [
        Task(
            name,
            variant,
            fold,
            seed,
            chosen[
                SETS[name].tuned_on or name, variant.removesuffix('-tuned')
            ],
        )
        for seed in seeds
        for fold in FOLDS
        for variant in variants
        for name in names
    ]


def whole_seeds(rows: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """The runs of seeds that are done in all folds."""
    done: dict[tuple[str, str, str], set[int]] = {}
    for row in rows:
        key = row['set'], row['variant'], row['seed']
        done.setdefault(key, set()).add(int(row['fold']))
    return [
        row
        for row in rows
        if done[row['set'], row['variant'], row['seed']] == set(FOLDS)
    ]


def write_report(
    folders: Folders, names: Sequence[str], reference: str
) -> str:
    """Sizes, ceilings and the tables of all sets."""
    lines = []
    for name in names:
        folds = [folders.videos(name, fold, 'test') for fold in FOLDS]
        texts = [[video.captions[0] for video in fold] for fold in folds]
        lines.append(
            f'* {name}: {" + ".join(str(len(fold)) for fold in folds)} '
            f'items; ceiling of R@1 {ceiling(texts):.1f}'
        )
    rows = whole_seeds(read_rows(folders.out / 'test.csv'))
    lines += ['', write_tables(rows, names, NAMES, reference)]
    lines += [
        '',
        write_fine_grained(rows, names, NAMES, MEASURES, FINE_REFERENCE),
    ]
    for name in names:
        languages = {
            f'{name}-{language}': language for language in SETS[name].languages
        }
        if languages:
            lines += ['', write_languages(rows, languages, NAMES)]
    return '\n'.join(lines)


def main() -> None:
    """Do as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('stage', choices=('extract', 'tune', 'test', 'report'))
    parser.add_argument('--data', type=Path, default=Path('data'))
    parser.add_argument(
        '--out', type=Path, default=Path('work_dirs/real_pictures')
    )
    parser.add_argument('--sets', nargs='+', choices=SETS, default=list(SETS))
    parser.add_argument(
        '--variants',
        nargs='+',
        choices=[BASELINE, *VARIANTS],
        default=[
            key for key in (BASELINE, *VARIANTS) if not key.endswith('-tuned')
        ],
    )
    parser.add_argument(
        '--seeds', type=int, nargs='+', default=[0, 1, 2, 3, 4]
    )
    parser.add_argument(
        '--reference',
        choices=NAMES,
        default=BASELINE,
        help='what the report compares with (default: the baseline)',
    )
    args = parser.parse_args()
    folders = Folders(args.data.resolve(), args.out.resolve())
    folders.out.mkdir(parents=True, exist_ok=True)
    MMLogger.get_instance('mmengine', log_level='WARNING')
    if args.stage == 'extract':
        extract(folders, args.sets)
    elif args.stage == 'report':
        report = write_report(folders, args.sets, args.reference)
        (folders.out / 'results.md').write_text(report, encoding='utf-8')
        print(report)
    else:
        tasks = list_tasks(
            args.stage, args.sets, args.variants, args.seeds, folders
        )
        split = 'val' if args.stage == 'tune' else 'test'
        run_tasks(tasks, folders, folders.out / f'{args.stage}.csv', split)


if __name__ == '__main__':
    main()
