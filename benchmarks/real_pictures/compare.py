"""What each part brings on photographs and on animated emoji, over folds.

``extract`` computes the features of the frozen towers; ``tune`` tries the
settings of ``TRIALS`` on the validation part of each fold; ``test`` trains
with the best of them and tests each fold once, with several seeds; ``report``
writes the tables. A run is one row of ``tune.csv`` or ``test.csv``, written
when it is done: a stopped comparison goes on where it stopped.
"""

import argparse
import csv
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import FUNCTIONS
from mmengine.runner import Runner

from benchmarks.real_pictures.baseline import Pairs, score_baseline
from benchmarks.real_pictures.report import ceiling, write_tables
from benchmarks.real_pictures.stored import read_folds
from mmtvr.config import load_config
from mmtvr.datasets.annotations import VideoCaptions, read_annotations
from mmtvr.datasets.samplers import stack_samples
from mmtvr.engine.loops import RetrievalTestLoop
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
INFO_NCE = {
    'model.contrastive_loss._delete_': True,
    'model.contrastive_loss.type': 'mmtvr.InfoNCELoss',
}
#: Name in the tables, config, and what differs from it. Key words count twice
#: in all of them that look at words.
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


# What is tried, as many for every variant: the rate. Chosen beforehand, with
# epochs, batch and width, by a look at the validation part of folds 0 and 1 of
# the exercises at word level.
TRIALS = (
    dict(lr=2e-3, epochs=12, scale=20.0),
    dict(lr=4e-3, epochs=12, scale=20.0),
    dict(lr=8e-3, epochs=12, scale=20.0),
)
BASELINE_TRIALS = tuple(
    dict(width=256, lr=lr, epochs=epochs, drop=drop, scale=20.0)
    for lr, epochs, drop in (
        (1e-3, 40, 0.0),
        (3e-3, 40, 0.0),
        (3e-3, 40, 0.3),
    )
)
QUIET = {
    'default_hooks.checkpoint': None,
    'default_hooks.logger.interval': 1000,
    'visualizer.vis_backends': [],
    'log_level': 'WARNING',
    'val_dataloader': None,
    'val_cfg': None,
    'val_evaluator': None,
}


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

    def stored(self, data: str) -> dict[str, list[str]]:
        """Annotations of all test folds and files of their features."""
        return dict(
            annotations=[
                str(self.root(data) / SETS[data].annotation(fold, 'test'))
                for fold in FOLDS
            ],
            files=[
                str(self.features(data, fold) / 'test.safetensors')
                for fold in FOLDS
            ],
        )

    def videos(self, data: str, fold: int, split: str) -> list[VideoCaptions]:
        """Videos and captions of a split."""
        return read_annotations(
            self.root(data) / SETS[data].annotation(fold, split)
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


def schedule(trial: Mapping[str, float]) -> dict[str, object]:
    """Options of a trial."""
    epochs = int(trial['epochs'])
    return {
        'optim_wrapper.optimizer.lr': trial['lr'],
        'model.logit_scale.init': trial['scale'],
        'train_cfg.max_epochs': epochs,
        'param_scheduler.0.end': 0.1 * epochs,
        'param_scheduler.1.begin': 0.1 * epochs,
        'param_scheduler.1.end': epochs,
        'param_scheduler.1.T_max': 0.9 * epochs,
    }


def recipe(data: str, variant: str) -> Path:
    """Config of a variant."""
    _, method, _ = VARIANTS[variant]
    return ROOT / f'configs/{method}_{SETS[data].recipe}.py'


class QuickRunner(Runner):
    """A runner that does not format its config, which takes longer than
    a training.
    """

    def _log_env(self, env_cfg: dict) -> None:
        """Log nothing."""

    def dump_config(self) -> None:
        """Write nothing."""


@FUNCTIONS.register_module()
def trim_words(batch: Sequence[dict]) -> dict:
    """Stack samples, without the padding that all captions share."""
    data = stack_samples(batch)
    longest = int(data['inputs']['token_mask'].sum(-1).max())
    for key in ('words', 'tokens', 'token_mask', 'token_weight'):
        if key in data['inputs']:
            data['inputs'][key] = data['inputs'][key][:, :, :longest]
    return data


def make_config(task: Task, folders: Folders, split: str) -> Config:
    """The config of a training and of the test of a split after it."""
    options = data_options(task.data, task.fold, folders)
    options |= VARIANTS[task.variant][2] | schedule(TRIALS[task.trial])
    options['randomness.seed'] = task.seed
    cfg = load_config(str(recipe(task.data, task.variant)), options)
    if split == 'val':
        cfg.test_dataloader = cfg.val_dataloader
    cfg.merge_from_dict(QUIET)
    for loader in (cfg.train_dataloader, cfg.test_dataloader):
        loader.dataset = ConfigDict(
            type='StoredFolds',
            dataset=loader.dataset,
            **folders.stored(task.data),
        )
        loader.collate_fn = ConfigDict(type='trim_words')
    cfg.model.frozen_encoders = True
    return cfg


def train(task: Task, folders: Folders, split: str) -> dict[str, np.ndarray]:
    """Train one model and score a split.

    Returns:
        Scores (B, V) of each folder of captions, texts as rows.
    """
    cfg = make_config(task, folders, split)
    chosen = SETS[task.data]
    found = {}
    with TemporaryDirectory() as folder:
        cfg.work_dir = folder
        file = Path(folder, 'scores.npz')
        cfg.test_evaluator = dict(
            type='mmtvr.SimilarityDump', out_file=str(file)
        )
        runner = QuickRunner.from_cfg(cfg)
        runner.train()
        loaders = {chosen.captions: runner.test_loop.dataloader}
        if split == 'test':
            for language in chosen.languages:
                loader = cfg.test_dataloader.copy()
                loader.dataset.live_captions = True
                loader.dataset.dataset.ann_file = chosen._replace(
                    captions=language
                ).annotation(task.fold, split)
                loaders[language] = loader
        for captions, loader in loaders.items():
            loop = RetrievalTestLoop(runner, loader, cfg.test_evaluator)
            loop.run()
            with np.load(file) as content:
                found[captions] = content['scores']
    return found


def train_baseline(
    task: Task, folders: Folders, split: str
) -> dict[str, np.ndarray]:
    """The same of TF-IDF and pooled image features."""
    paths = folders.stored(task.data).values()
    stored, _ = read_folds(*(tuple(map(Path, each)) for each in paths))
    pairs = []
    for part in ('train', split):
        videos = folders.videos(task.data, task.fold, part)
        images = [stored[v.file]['pooled'].float().mean(0) for v in videos]
        captions = [video.captions[0] for video in videos]
        pairs.append(Pairs(captions, torch.stack(images)))
    scores = score_baseline(*pairs, BASELINE_TRIALS[task.trial], task.seed)
    return {SETS[task.data].captions: scores.numpy()}


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


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read the runs that are done."""
    if not path.is_file():
        return []
    with path.open(newline='', encoding='utf-8') as file:
        return list(csv.DictReader(file))


def append_row(path: Path, row: Mapping[str, object]) -> None:
    """Add one run to the file."""
    is_new = not path.is_file()
    with path.open('a', newline='', encoding='utf-8') as file:
        writer = csv.DictWriter(file, COLUMNS)
        if is_new:
            writer.writeheader()
        writer.writerow(row)


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
        for captions, scores in found.items():
            row = make_row(task, captions, scores, seconds)
            append_row(path, row)
        print(
            f'{number}/{len(tasks)}  {task.data}, {task.variant}, fold '
            f'{task.fold}, seed {task.seed}, trial {task.trial}: R@1 '
            f'{row["R1"]:.1f}, {seconds:.1f} s',
            flush=True,
        )


def choose_trials(
    rows: Sequence[Mapping[str, str]],
) -> dict[tuple[str, str, int], int]:
    """The best trial of each set, variant and fold.

    Best is the highest mean reciprocal rank, over both directions and seeds,
    on the validation part of that fold alone: the items of its test had no
    part in the choice.
    """
    found: dict[tuple[str, str, int], dict[int, list[float]]] = {}
    for row in rows:
        key = row['set'], row['variant'], int(row['fold'])
        trials = found.setdefault(key, {})
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
            for fold in FOLDS
            for variant in variants
        ]
    chosen = choose_trials(read_rows(folders.out / 'tune.csv'))
    return [
        Task(
            name,
            variant,
            fold,
            seed,
            chosen[SETS[name].tuned_on or name, variant, fold],
        )
        for seed in seeds
        for fold in FOLDS
        for variant in variants
        for name in names
    ]


def write_report(folders: Folders, names: Sequence[str]) -> str:
    """Sizes, ceilings and the tables of all sets."""
    lines = []
    for name in names:
        folds = [folders.videos(name, fold, 'test') for fold in FOLDS]
        texts = [[video.captions[0] for video in fold] for fold in folds]
        lines.append(
            f'* {name}: {" + ".join(str(len(fold)) for fold in folds)} '
            f'items; ceiling of R@1 {ceiling(texts):.1f}'
        )
    rows = read_rows(folders.out / 'test.csv')
    listed = [
        part
        for name in names
        for part in (
            name,
            *(f'{name}-{language}' for language in SETS[name].languages),
        )
    ]
    tables = write_tables(rows, listed, NAMES, BASELINE)
    return '\n'.join([*lines, '', tables])


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
        '--variants', nargs='+', choices=NAMES, default=list(NAMES)
    )
    parser.add_argument(
        '--seeds', type=int, nargs='+', default=[0, 1, 2, 3, 4]
    )
    args = parser.parse_args()
    folders = Folders(args.data.resolve(), args.out.resolve())
    folders.out.mkdir(parents=True, exist_ok=True)
    if args.stage == 'extract':
        extract(folders, args.sets)
    elif args.stage == 'report':
        report = write_report(folders, args.sets)
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
