"""What nearest neighbor normalization (NNN) brings on real pictures.

``python -m benchmarks.real_pictures.hubness --data DATA --out OUT`` trains as
``compare test`` does, after ``compare extract`` and ``tune``. The bias of a
picture is the mean of its K largest scores with the captions of the training
part, that of a caption the same with its pictures. ALPHA and K are chosen for
each variant, fold and direction by mean reciprocal rank on the validation part
of that fold, over all seeds, and applied to its test part.
"""

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from mmengine.logging import MMLogger
from torch import Tensor

from benchmarks.real_pictures.compare import (
    FOLDS,
    NAMES,
    SETS,
    VARIANTS,
    Folders,
    Task,
    list_tasks,
    score,
    train_model,
)
from benchmarks.real_pictures.report import (
    Ranks,
    format_cell,
    format_difference,
)
from benchmarks.real_pictures.stored import make_texts, make_videos
from mmtvr.evaluation.ranking import ranks, text_to_video
from mmtvr.evaluation.rescoring import nnn

SETTINGS = tuple(product((0.25, 0.5, 0.75, 1.0), (4, 16, 64, 256)))
DIRECTIONS = ('t2v', 'v2t')


class Tables(NamedTuple):
    """Scores of a split, and of the training part with it.

    Attributes:
        scores: Shape (N, N), queries as rows; right ones on the diagonal.
        bank: Shape (B, N), of queries of the training part.
    """

    scores: Tensor
    bank: Tensor

    def rank(self, setting: tuple[float, int] | None) -> np.ndarray:
        """Ranks of the right items, with NNN or without."""
        scores = self.scores.double()
        if setting is not None:
            scores = nnn(self.scores, self.bank, *setting)
        ids = torch.arange(len(scores))
        return ranks(text_to_video(scores, ids, ids)).numpy()


def score_parts(task: Task, folders: Folders) -> dict[str, dict[str, Tables]]:
    """Train, and score validation and test part in both directions."""
    model, _, captions = train_model(task, folders)
    stored, _ = folders.stored(task.data)
    texts, videos = {}, {}
    for split in ('train', 'val', 'test'):
        records = folders.videos(task.data, task.fold, split)
        texts[split] = make_texts([r.captions[0] for r in records], captions)
        videos[split] = make_videos(records, stored)

    def compare(of: str, to: str) -> Tensor:
        return torch.from_numpy(score(model, texts[of], videos[to]))

    return {
        split: {
            't2v': Tables(compare(split, split), compare('train', split)),
            'v2t': Tables(compare(split, split).T, compare(split, 'train').T),
        }
        for split in ('val', 'test')
    }


def choose(tables: Sequence[Tables]) -> tuple[float, int]:
    """The setting of the highest mean reciprocal rank."""
    found = {
        setting: np.mean([(1 / each.rank(setting)).mean() for each in tables])
        for setting in SETTINGS
    }
    return max(found, key=found.__getitem__)


def measure(
    data: str, variant: str, seeds: Sequence[int], folders: Folders
) -> list[dict[str, str]]:
    """Rows of the table of one set and variant."""
    plain: dict[str, list[np.ndarray]] = {each: [] for each in DIRECTIONS}
    corrected: dict[str, list[np.ndarray]] = {each: [] for each in DIRECTIONS}
    chosen: dict[str, Counter] = {each: Counter() for each in DIRECTIONS}
    folds: list[int] = []
    tasks = list_tasks('test', [data], [variant], seeds, folders)
    for fold in FOLDS:
        runs = [
            score_parts(task, folders) for task in tasks if task.fold == fold
        ]
        for direction in DIRECTIONS:
            setting = choose([run['val'][direction] for run in runs])
            chosen[direction][setting] += 1
            tests = [run['test'][direction] for run in runs]
            for into, use in ((plain, None), (corrected, setting)):
                into[direction].append(
                    np.stack([each.rank(use) for each in tests], axis=1)
                )
        folds += [fold] * len(plain['t2v'][-1])
        print(f'{data}, {variant}, fold {fold}: {chosen}', flush=True)
    rows = []
    for direction in DIRECTIONS:
        without, with_nnn = (
            Ranks(
                np.concatenate(found[direction]),
                np.array(folds),
                np.zeros(len(folds)),
            )
            for found in (plain, corrected)
        )
        row = dict(set=data, variant=NAMES[variant], direction=direction)
        for k in (1, 10):
            row[f'R@{k}'] = format_cell(without, k)
            row[f'R@{k}, NNN'] = format_cell(with_nnn, k)
            row[f'R@{k}, difference'] = format_difference(with_nnn, without, k)
        row['chosen'] = ', '.join(
            f'{alpha:g}/{k}: {count}'
            for (alpha, k), count in chosen[direction].most_common()
        )
        rows.append(row)
    return rows


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('--data', type=Path, default=Path('data'))
    parser.add_argument(
        '--out', type=Path, default=Path('work_dirs/real_pictures')
    )
    parser.add_argument(
        '--sets', nargs='+', choices=SETS, default=['exercises', 'emoji']
    )
    parser.add_argument(
        '--variants',
        nargs='+',
        choices=VARIANTS,
        default=['word', 'negnce'],
    )
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--table', type=Path, help='write it as JSON')
    args = parser.parse_args()
    MMLogger.get_instance('mmengine', log_level='WARNING')
    folders = Folders(args.data.resolve(), args.out.resolve())
    rows = []
    for data, variant in product(args.sets, args.variants):
        rows += measure(data, variant, args.seeds, folders)
        print(*rows[-2:], sep='\n', flush=True)
    if args.table is not None:
        args.table.write_text(json.dumps(rows, indent=2) + '\n')


if __name__ == '__main__':
    main()
