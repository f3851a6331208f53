"""What searching the texts of videos adds to searching what is seen.

Each exercise is asked for by its name, among those of its test fold, by what
is seen (the baseline of TF-IDF and pooled picture features, trained on the
other folds), by full-text search in its instructions, which do not belong to
the query, and by both, merged by reciprocal ranks as ``mmtvr search`` does.

    python -m benchmarks.real_pictures.fusion DATA FEATURES

DATA holds ``exercises/{short,long}`` as prepared, FEATURES ``foldN/test``.
"""

import argparse
import tempfile
from pathlib import Path

import torch

from benchmarks.real_pictures.baseline import Pairs, score_baseline
from benchmarks.real_pictures.stored import read_folds
from mmtvr.datasets.annotations import read_annotations
from mmtvr.search.filters import TEXT
from mmtvr.search.query import Selection, _fuse
from mmtvr.search.stores.base import Metadata
from mmtvr.search.stores.lance import LanceStore

FOLDS = range(5)
OPTIONS = dict(width=256, lr=2e-3, epochs=30, drop=0.3, scale=10.0)
WEIGHTS = (0.0, 0.3, 0.5, 0.7, 1.0)
TOP = (1, 5, 10)


def rank_fold(
    train: Pairs, test: Pairs, texts: list[str], seed: int
) -> dict[float, list[int]]:
    """Ranks of the right exercise, from 0, by the weight of the texts."""
    scores = score_baseline(train, test, OPTIONS, seed)
    count = len(texts)
    with tempfile.TemporaryDirectory() as folder:
        store = LanceStore(f'{folder}/index')
        store.create(dict(width=8, precision='int8', parts=1))
        store.add_columns(dict(text=TEXT))
        store.put_metadata(
            [
                Metadata(f'{row:04x}', f'{row:04x}', {}, {}, text)
                for row, text in enumerate(texts)
            ]
        )
        store.compact()
        said = [
            [int(key, 16) for key, _ in store.search_text(caption, count)]
            for caption in test.captions
        ]
    ranks: dict[float, list[int]] = {weight: [] for weight in WEIGHTS}
    for row in range(count):
        seen = scores[row].argsort(descending=True).tolist()
        for weight in WEIGHTS:
            selection = Selection(
                count,
                candidates=count,
                text_weight=weight,
                match='text' if weight == 1 else 'auto',
            )
            order = _fuse(seen, said[row] if weight else [], selection)
            ranks[weight].append(order.index(row) if row in order else count)
    return ranks


def main() -> None:
    """Print recall by weight, over all test folds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('data', type=Path)
    parser.add_argument('features', type=Path)
    args = parser.parse_args()
    folder = args.data / 'exercises'
    names = [f'fold{fold}_test.json' for fold in FOLDS]
    files = [
        args.features / f'fold{fold}' / 'test.safetensors' for fold in FOLDS
    ]
    videos, _ = read_folds(
        tuple(folder / 'short' / name for name in names), tuple(files)
    )
    records = [read_annotations(folder / 'short' / name) for name in names]
    long = {
        each.file: ' '.join(each.captions)
        for name in names
        for each in read_annotations(folder / 'long' / name)
    }

    def pairs(chosen: list) -> Pairs:
        pooled = [videos[each.file]['pooled'].float() for each in chosen]
        images = torch.stack(
            [each.reshape(-1, each.shape[-1]).mean(0) for each in pooled]
        )
        return Pairs([each.captions[0] for each in chosen], images)

    ranks: dict[float, list[int]] = {weight: [] for weight in WEIGHTS}
    for fold in FOLDS:
        test = [each for each in records[fold] if each.file in long]
        train = [r for f in FOLDS if f != fold for r in records[f]]
        texts = [long[each.file] for each in test]
        found = rank_fold(pairs(train), pairs(test), texts, fold)
        for weight, places in found.items():
            ranks[weight] += places
    print(f'{len(ranks[0.0])} queries')
    for weight, places in ranks.items():
        found = torch.tensor(places)
        recall = [f'R@{k} {100 * (found < k).float().mean():.1f}' for k in TOP]
        print(f'weight of the texts {weight:.1f}:', *recall)


if __name__ == '__main__':
    main()
