"""What probabilities of search results are worth on another collection.

``python -m benchmarks.benchmark_calibration TUNED ITS_ANNOTATION OTHER
ITS_ANNOTATION --foreign FILE``

TUNED and OTHER are indexes of the same model and of different videos, none of
which trained it. Scores are calibrated on TUNED, as by ``mmtvr index
--calibrate``, and then the OTHER index is asked for three things: its own
captions, the captions of TUNED, whose videos it does not hold, and, with
``--foreign``, texts of another data set, one a line or the captions of a
JSON as ``tests/data/key_words_60.json``.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from benchmarks.measuring import report
from mmtvr.apis.searcher import calibrate_index, open_searcher
from mmtvr.cli.command import run_command
from mmtvr.search.calibration import (
    expected_calibration_error,
    fits,
    reliability,
)
from mmtvr.search.query import SearchResult
from mmtvr.search.video_files import read_captioned


def read_texts(path: Path) -> list[str]:
    """Read texts of another data set."""
    if path.suffix != '.json':
        return path.read_text('utf-8').splitlines()
    content = json.loads(path.read_text('utf-8'))
    return [each['caption'] for each in content['captions']]


def read_pairs(annotation: Path) -> tuple[list[str], list[str]]:
    """Captions, and the path of the video of each."""
    pairs = [
        (text, each.video.path)
        for each in read_captioned(annotation)
        for text in each.captions
    ]
    texts, paths = zip(*pairs, strict=True)
    return list(texts), list(paths)


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('tuned')
    parser.add_argument('tuned_annotation', type=Path)
    parser.add_argument('other')
    parser.add_argument('other_annotation', type=Path)
    parser.add_argument('--foreign', type=Path)
    parser.add_argument('--out', type=Path, help='write the table as JSON')
    args = parser.parse_args()
    fitted = calibrate_index(args.tuned, args.tuned_annotation)
    print(fitted)
    searcher = open_searcher(args.other)
    absent, _ = read_pairs(args.tuned_annotation)
    present, paths = read_pairs(args.other_annotation)
    # As many as there are of what is absent.
    some = np.random.default_rng(0).permutation(len(present))[: len(absent)]
    asked = {
        'its own captions': [present[each] for each in some],
        'captions of videos that it does not hold': absent,
    }
    if args.foreign:
        asked['texts of another data set'] = read_texts(args.foreign)
    rows, outcomes = [], []
    for name, texts in asked.items():
        best = [each[0] for each in searcher.search(texts, top_k=1)]
        own = [paths[each] for each in some] if not rows else [''] * len(texts)
        right = np.array(
            [mine == hit.path for mine, hit in zip(own, best, strict=True)]
        )
        rows.append(summarize(name, best, right))
        if len(outcomes) < 2:
            outcomes.append((np.array([h.probability for h in best]), right))
    probabilities, right = map(np.concatenate, zip(*outcomes, strict=True))
    report('Queries of the other index', rows, 'cpu', args.out)
    error = expected_calibration_error(probabilities, right)
    print(f'expected calibration error of the first two: {error:.3f}')
    curve = [
        {'probability': p, 'right': share, 'best hits': count}
        for p, share, count in reliability(probabilities, right)
    ]
    report('Reliability on the other index, the first two', curve, 'cpu')


def summarize(
    name: str, best: list[SearchResult], right: np.ndarray
) -> dict[str, str | float]:
    """Say how often something fits, and how often that is right."""
    said = np.array([fits([hit]) for hit in best])
    return {
        'asked': name,
        'queries': len(best),
        'R@1, %': 100 * float(right.mean()),
        'answered, %': 100 * float(said.mean()),
        'of the answered right, %': 100 * float(right[said].mean())
        if said.any()
        else float('nan'),
        'of the right ones answered, %': 100 * float(said[right].mean())
        if right.any()
        else float('nan'),
    }


if __name__ == '__main__':
    sys.exit(run_command(main, 'the calibration is kept with the index'))
