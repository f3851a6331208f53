"""What the first stage costs: R@1 after K candidates against the exact R@1.

``python -m benchmarks.benchmark_two_stages CONFIG CHECKPOINT ANNOTATION``

Indexes the videos of an annotation file into a temporary folder, searches all
captions with K candidates for several K, and with all videos as candidates,
which is the exact ranking. Beside R@1 stands how often the first result is
that of the exact ranking, which needs no right answer. ``--spans S`` cuts each
video into spans of S seconds first, to get many from few files.

The first stage is that of the index, and for comparison the sentence vector
alone, as it was before, and the merged neighbours of all vectors, as where
there is a vector index or another engine.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from benchmarks.measuring import report
from mmtvr.apis.searcher import TextVideoSearcher
from mmtvr.cli.command import run_command
from mmtvr.datasets.annotations import VideoCaptions, read_annotations
from mmtvr.search.query import SearchResult
from mmtvr.search.stores.base import QueryVectors, VideoStore
from mmtvr.video import AutoReader


def cut(
    records: Sequence[VideoCaptions], folder: Path, seconds: float
) -> list[VideoCaptions]:
    """Cut videos into spans that keep the captions of the whole."""
    spans = []
    for record in records:
        with AutoReader(folder / record.file) as reader:
            end = float(reader.get_times()[-1])
        borders = np.arange(0, max(end, seconds) + seconds / 2, seconds)
        spans += [
            VideoCaptions(record.file, record.captions, *map(float, pair))
            for pair in pairwise(borders)
        ]
    return spans


def write(records: Sequence[VideoCaptions], path: Path) -> None:
    """Write an annotation file."""
    videos = [
        {k: v for k, v in vars(record).items() if v is not None}
        for record in records
    ]
    path.write_text(json.dumps({'videos': videos}))


def first(results: Sequence[SearchResult]) -> tuple:
    """Name the first result."""
    best = results[0]
    return Path(best.path).name, best.start, best.end


def list_queries(
    records: Sequence[VideoCaptions],
) -> tuple[list[str], list[tuple]]:
    """List the captions and the video that each belongs to."""
    texts = [text for record in records for text in record.captions]
    right = [
        (Path(record.file).name, record.start, record.end)
        for record in records
        for _ in record.captions
    ]
    return texts, right


def by_sentence(
    store: VideoStore, queries: Sequence[QueryVectors], count: int
) -> list[list[str]]:
    """Find candidates by the sentence vector alone."""
    vectors = np.stack([query.sentence for query in queries])
    found = store.nearest_each(vectors, count)
    return [[content for content, _ in near] for near in found]


STAGES = {
    'sentence and words': None,
    'the same, merged': VideoStore.find_candidates,
    'sentence': by_sentence,
}


def measure(
    searcher: TextVideoSearcher,
    records: Sequence[VideoCaptions],
    folder: Path,
    parts: int,
    args: argparse.Namespace,
) -> list[dict[str, Any]]:
    """Index with a number of vectors, and search with each K."""
    texts, right = list_queries(records)
    with tempfile.TemporaryDirectory() as top:
        source = Path(top, 'videos.json')
        write(records, source)
        searcher.index(
            source,
            Path(top, 'index'),
            videos_folder=folder,
            parts=parts,
            precision=args.precision,
            progress=False,
        )
        store = searcher.store
        count = store.count_videos()
        best = {}
        for stage, find in STAGES.items():
            if find is not None:
                store.find_candidates = partial(find, store)
            for candidates in args.candidates:
                hits = searcher.search(texts, 1, candidates=candidates)
                best[stage, candidates] = list(map(first, hits))
        hits = searcher.search(texts, 1, candidates=count)
        best['none', count] = exact = list(map(first, hits))
    return [
        {
            'videos': count,
            'queries': len(texts),
            'vectors/video': parts,
            'first stage': stage,
            'K': candidates,
            'R@1': 100 * mean(map(tuple.__eq__, found, right)),
            'first as exact, %': 100 * mean(map(tuple.__eq__, found, exact)),
        }
        for (stage, candidates), found in best.items()
    ]


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('config')
    parser.add_argument('checkpoint', help='or `none`')
    parser.add_argument('annotation', type=Path)
    parser.add_argument('--videos-folder', type=Path)
    parser.add_argument('--spans', type=float, metavar='S')
    parser.add_argument('--parts', type=int, nargs='+', default=[1, 4, 8])
    parser.add_argument('--precision', default='float16')
    parser.add_argument(
        '--candidates', type=int, nargs='+', default=[10, 30, 50, 100]
    )
    parser.add_argument('--out', type=Path, help='write the table as JSON')
    return parser.parse_args()


def main() -> None:
    """Measure and print the table."""
    args = parse_args()
    folder = args.videos_folder or args.annotation.parent / 'videos'
    records = read_annotations(args.annotation)
    if args.spans:
        records = cut(records, folder, args.spans)
    checkpoint = None if args.checkpoint == 'none' else args.checkpoint
    searcher = TextVideoSearcher(args.config, checkpoint)
    rows = []
    for parts in args.parts:
        new = measure(searcher, records, folder, parts, args)
        print(*new, sep='\n', flush=True)
        rows += new
    report('Loss of the first stage', rows, 'cpu', args.out)


if __name__ == '__main__':
    sys.exit(run_command(main, 'nothing was changed'))
