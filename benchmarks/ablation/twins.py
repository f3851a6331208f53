"""How often a model tells moving-shapes videos apart by one word.

``tools/test.py CONFIG CHECKPOINT --dump scores.npz`` and then
``python -m benchmarks.ablation.twins scores.npz``. Captions of the two videos
of a pair that differ in a single word are twins. *Video* is the share of
captions that score their own video above the other (chance 50), *text* of
videos that score their own caption above the other (50), *group* of twins for
which all four comparisons are right (17 for random scores, 0 where a tower
gives both words one feature).
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mmtvr.datasets.moving_shapes.scene import COLOURS, MOTIONS, SHAPES

KINDS = {'colour': COLOURS, 'shape': SHAPES, 'motion': MOTIONS}


def find_twins(texts: list[str], per_video: int) -> Iterator[tuple]:
    """Yield kind and rows of the captions of twins.

    Args:
        texts: Captions, ``per_video`` of each video, videos in pairs.
        per_video: Captions of a video.
    """
    kind_of = {word: kind for kind, words in KINDS.items() for word in words}
    for start in range(0, len(texts) - per_video, 2 * per_video):
        for one in range(start, start + per_video):
            pair = texts[one].split(), texts[one + per_video].split()
            changed = [a for a, b in zip(*pair, strict=True) if a != b]
            if len(changed) == 1:
                yield kind_of[changed[0]], one, one + per_video


def score_twins(
    scores: np.ndarray, texts: list[str]
) -> dict[str, tuple[int, float, float, float]]:
    """Number of twins and shares in per cent by kind: video, text, group.

    Args:
        scores: Shape (B, V), rows texts in the order of the videos.
        texts: The B captions.
    """
    per_video = len(texts) // scores.shape[1]
    found: dict[str, list] = {kind: [] for kind in KINDS}
    for kind, one, other in find_twins(texts, per_video):
        rows, columns = [one, other], [one // per_video, other // per_video]
        table = scores[np.ix_(rows, columns)]
        own = table.diagonal()
        video = own > table[[0, 1], [1, 0]]
        text = own > table[[1, 0], [0, 1]]
        found[kind].append([*video, *text, video.all() and text.all()])
    results = {}
    for kind, rows in found.items():
        hits = 100 * np.array(rows, float).reshape(-1, 5)
        if len(hits):
            results[kind] = (
                len(hits),
                hits[:, :2].mean(),
                hits[:, 2:4].mean(),
                hits[:, 4].mean(),
            )
    return results


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('scores', type=Path, help='what --dump wrote')
    args = parser.parse_args()
    with np.load(args.scores) as file:
        results = score_twins(file['scores'], file['texts'].tolist())
    print('| word | twins | video | text | group |')
    print('|---|---|---|---|---|')
    for kind, (count, *shares) in results.items():
        cells = ' | '.join(f'{share:.1f}' for share in shares)
        print(f'| {kind} | {count} | {cells} |')


if __name__ == '__main__':
    sys.exit(main())
