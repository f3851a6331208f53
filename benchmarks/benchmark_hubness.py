"""What nearest neighbor normalization (NNN) changes, in both directions.

``python -m benchmarks.benchmark_hubness TUNED ITS_ANNOTATION OTHER
ITS_ANNOTATION --reference TRAINING_ANNOTATION``

TUNED and OTHER are indexes of the same model. The bias of a video is the mean
of its K largest scores with texts that the model was trained with; that of a
text the same with the videos of TUNED, since those of the training are not
indexed. ALPHA and K are chosen on TUNED by R@1 from text to video, and applied
to OTHER, which chose nothing.
"""

import argparse
import sys
from itertools import product
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.measuring import report
from benchmarks.real_pictures.report import interval
from mmtvr.apis.searcher import open_searcher
from mmtvr.cli.command import run_command
from mmtvr.datasets.annotations import read_annotations
from mmtvr.evaluation.rescoring import nnn
from mmtvr.search.features import list_readable
from mmtvr.search.query import to_features
from mmtvr.search.video_files import read_captioned
from mmtvr.structures import TokenFeatures, concatenate

ALPHAS, NEIGHBOURS = (0.25, 0.5, 0.75, 1.0), (4, 16, 64, 256)
TEXTS_AT_ONCE = 256


class Collection:
    """Videos and captions of an index, and their scores.

    Args:
        index: The index.
        annotation: Captions of its videos.
    """

    def __init__(self, index: str, annotation: Path) -> None:
        searcher = open_searcher(index)
        self.encoder = searcher.encoder
        self.entries = list_readable(searcher.store)
        contents = [entry.content for entry in self.entries]
        self.videos = to_features(searcher.store.read_videos(contents))
        rows = {entry.path: row for row, entry in enumerate(self.entries)}
        pairs = [
            (text, rows[each.video.path])
            for each in read_captioned(annotation)
            for text in each.captions
        ]
        texts, own = zip(*pairs, strict=True)
        self.texts = self.encode(list(texts))
        self.own = torch.tensor(own)
        self.scores = self.compare(self.texts)

    def encode(self, texts: list[str]) -> TokenFeatures:
        """Encode captions."""
        return concatenate(
            [
                self.encoder.extract_texts(texts[i : i + TEXTS_AT_ONCE])
                for i in range(0, len(texts), TEXTS_AT_ONCE)
            ]
        )

    def compare(self, texts: TokenFeatures) -> Tensor:
        """Scores of texts with all videos."""
        return self.encoder.score(texts, self.videos)


def find_ranks(scores: Tensor, right: Tensor) -> Tensor:
    """Ranks from 0 of rows, of which some columns are right."""
    best = scores.masked_fill(~right, -torch.inf).amax(1, keepdim=True)
    return ((scores > best) & ~right).sum(1)


def recalls(scores: Tensor, right: Tensor) -> dict[str, float]:
    """R@1, 5 and 10, in percent."""
    ranks = find_ranks(scores, right)
    return {
        f'R@{k}': 100 * float((ranks < k).double().mean()) for k in (1, 5, 10)
    }


def gain(scores: Tensor, without: Tensor, right: Tensor) -> str:
    """R@1 against that without NNN, with its 95 % interval over queries."""
    hits = [find_ranks(each, right) < 1 for each in (scores, without)]
    values = 100 * (hits[0].double() - hits[1].double()).numpy()
    low, high = interval(values[:, None], np.zeros(len(values)))
    return f'{values.mean():+.1f} [{low:+.1f}, {high:+.1f}]'


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('tuned')
    parser.add_argument('tuned_annotation', type=Path)
    parser.add_argument('other')
    parser.add_argument('other_annotation', type=Path)
    parser.add_argument('--reference', type=Path, required=True)
    parser.add_argument('--texts', type=int, default=1000)
    parser.add_argument('--out', type=Path, help='write the table as JSON')
    args = parser.parse_args()
    torch.set_num_threads(1)
    tuned = Collection(args.tuned, args.tuned_annotation)
    other = Collection(args.other, args.other_annotation)
    known = [t for r in read_annotations(args.reference) for t in r.captions]
    known = sorted(set(known))
    chosen = np.random.default_rng(0).permutation(len(known))[: args.texts]
    reference = tuned.encode([known[each] for each in chosen])
    banks = {each: each.compare(reference) for each in (tuned, other)}

    def right(each: Collection) -> Tensor:
        return each.own[:, None] == torch.arange(len(each.entries))

    settings = {
        (alpha, k): recalls(
            nnn(tuned.scores, banks[tuned], alpha, k), right(tuned)
        )['R@1']
        for alpha, k in product(ALPHAS, NEIGHBOURS)
    }
    alpha, k = max(settings, key=settings.__getitem__)
    rows = []
    for name, each in (('tuned', tuned), ('other', other)):
        texts, videos = each.scores, each.scores.T
        rows += [
            {
                'index': name,
                'direction': direction,
                'NNN': label,
                **recalls(scores, is_right),
                'R@1, gain': gain(
                    scores, texts if direction == 't2v' else videos, is_right
                ),
                'largest hub': int(
                    scores.argmax(1).bincount(minlength=1).max()
                ),
            }
            for direction, label, scores, is_right in (
                ('t2v', 'none', texts, right(each)),
                (
                    't2v',
                    f'alpha {alpha:g}, K {k}',
                    nnn(texts, banks[each], alpha, k),
                    right(each),
                ),
                ('v2t', 'none', videos, right(each).T),
                (
                    'v2t',
                    f'alpha {alpha:g}, K {k}',
                    nnn(videos, tuned.compare(each.texts).T, alpha, k),
                    right(each).T,
                ),
            )
            # The videos of the tuned index know their own texts.
            if (name, direction, label)
            != (
                'tuned',
                'v2t',
                f'alpha {alpha:g}, K {k}',
            )
        ]
    report('Hubness', rows, 'cpu', args.out)
    print({f'{a:g}:{n}': round(v, 2) for (a, n), v in settings.items()})


if __name__ == '__main__':
    sys.exit(run_command(main, 'nothing was changed'))
