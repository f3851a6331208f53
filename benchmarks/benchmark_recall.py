"""Measure what the vector index of an index loses against a scan of all.

``python -m benchmarks.benchmark_recall --folder DIR_WITH_5_GB_FREE``

The features are synthetic, clustered as those of CLIP are: a video is a topic
plus its own direction, 4 parts of it vary around that; the number of topics
is the root of the number of videos and their sizes fall as 1 / rank; all
directions have variances that fall as 1 / rank (28 effective dimensions), and
all videos share a common direction (two videos have
cosines of about 0.5). A query is a text about one part: it has
another common direction than videos (the gap between texts and videos), and a
cosine of about 0.3 with its part, so that it does not lie where the index has
seen vectors. ``--queries-like videos`` takes other videos as queries.

The index is that of the product in its own format, and a scan and a search of
it are timed in turn for each query. Recall@100 is the share of the 100 nearest
videos of the scan that the search finds too, own@100 how often the part that
the query is about is among the 100, for the scan and for the search.
"""

import argparse
import tempfile
import time
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np

from benchmarks.measuring import report
from mmtvr.search.stores.base import StoredVideos
from mmtvr.search.stores.lance import (
    LanceStore,
    find_neighbours,
    scan_neighbours,
)

WIDTH, PARTS, BATCH = 512, 4, 4000
# Shares of what a vector is made of, before it is scaled to unit length.
COMMON, TOPIC, OWN, PART = 0.7, 0.5, 0.45, 0.25
NEARNESS, GAP, NOISE = 0.45, 0.7, 0.55
COUNT = 100
SCANS_TO_TIME = 10


class SyntheticVideos:
    """Features that are the same for the same numbers.

    Args:
        videos: How many.
    """

    def __init__(self, videos: int) -> None:
        rng = np.random.default_rng(0)
        scale = np.arange(1, WIDTH + 1) ** -0.5
        self.scale = (scale / np.linalg.norm(scale)).astype(np.float32)
        turned, _ = np.linalg.qr(rng.standard_normal((WIDTH, WIDTH)))
        self.basis = turned.astype(np.float32)
        self.count = videos
        self.topics = self._directions(rng, int(videos**0.5))
        share = 1 / np.arange(1, len(self.topics) + 1)
        self.share = share / share.sum()
        self.common, self.text = self.basis[-1], self.basis[-2]

    def make(self, first: int, count: int) -> np.ndarray:
        """Make videos."""
        rng = np.random.default_rng([1, first])
        topic = rng.choice(len(self.share), count, p=self.share)
        video = TOPIC * self.topics[topic]
        video += OWN * self._directions(rng, count) + COMMON * self.common
        around = self._directions(rng, count * PARTS)
        return unit(video[:, None] + PART * around.reshape(-1, PARTS, WIDTH))

    def ask(self, count: int, like: str) -> tuple[np.ndarray, list[str]]:
        """Make queries."""
        rng = np.random.default_rng(2)
        numbers = rng.integers(0, self.count, count)
        if like == 'videos':
            others = self.make(10**9, count)[:, 0]
            return others, [''] * count
        starts = numbers // BATCH * BATCH
        near = np.stack(
            [
                self.make(start, min(BATCH, self.count - start))[
                    number - start, rng.integers(PARTS)
                ]
                for start, number in zip(
                    starts.tolist(), numbers.tolist(), strict=True
                )
            ]
        )
        near -= (near @ self.common)[:, None] * self.common
        queries = NEARNESS * unit(near) + GAP * self.text
        queries += NOISE * self._directions(rng, count)
        return unit(queries), [f'{number:032x}' for number in numbers]

    def _directions(self, rng: np.random.Generator, count: int) -> np.ndarray:
        drawn = rng.standard_normal((count, WIDTH), np.float32)
        return drawn * self.scale @ self.basis


def unit(vectors: np.ndarray) -> np.ndarray:
    """Scale to unit length."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def fill(store: LanceStore, made: SyntheticVideos) -> float:
    """Write all videos and index them."""
    store.create(dict(width=WIDTH, precision='int8', parts=PARTS))
    for first in range(0, made.count, BATCH):
        parts = made.make(first, min(BATCH, made.count - first))
        contents = [f'{first + row:032x}' for row in range(len(parts))]
        times = [np.arange(PARTS, dtype=np.float32)] * len(parts)
        pooled = unit(parts.mean(axis=1))
        store.add_videos(StoredVideos(contents, pooled, list(parts), times))
    start = time.perf_counter()
    store.tidy()
    return time.perf_counter() - start


def measure(videos: int, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Compare settings of the index with a scan, at one size."""
    made = SyntheticVideos(videos)
    queries, own = made.ask(args.queries, args.queries_like)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        store = LanceStore(str(Path(folder, 'index')))
        indexing = fill(store, made)
        # The table is what is searched here with other settings.
        table = store._table('videos')
        print(f'{videos} videos, indexed in {indexing:.0f} s', flush=True)
        exact = [
            {each for each, _ in scan_neighbours(table, query, COUNT, PARTS)}
            for query in queries
        ]
        return [
            {
                'videos': videos,
                'vectors': videos * PARTS,
                'probes': probes,
                'refine': refining,
                **compare(table, queries, own, exact, probes, refining),
                'indexing, s': round(indexing),
            }
            for probes in args.probes
            for refining in args.refine
        ]


def compare(
    table: Any,
    queries: np.ndarray,
    own: list[str],
    exact: list[set[str]],
    probes: int,
    refining: int,
) -> dict[str, Any]:
    """Compare one setting with the scan."""
    found, scans, searches = [], [], []
    for number, query in enumerate(queries):
        options = (table, query, COUNT, PARTS)
        start = time.perf_counter()
        best = find_neighbours(*options, probes, refining)
        searches.append(time.perf_counter() - start)
        found.append({each for each, _ in best})
        if number < SCANS_TO_TIME:
            start = time.perf_counter()
            scan_neighbours(*options)
            scans.append(time.perf_counter() - start)
    shares = [
        len(one & other) / len(other)
        for one, other in zip(found, exact, strict=True)
    ]
    row = {
        'recall@100': mean(shares),
        'worst query': min(shares),
        'own, scan': mean(map(set.__contains__, exact, own)),
        'own, index': mean(map(set.__contains__, found, own)),
        'scan, ms': 1000 * median(scans),
        'index, ms': 1000 * median(searches),
        'scan / index': median(scans) / median(searches),
    }
    print(probes, refining, row, flush=True)
    return row


def main() -> None:
    """Measure all sizes and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        '--videos', type=int, nargs='+', default=[25_000, 250_000]
    )
    parser.add_argument('--queries', type=int, default=50)
    parser.add_argument(
        '--queries-like', choices=('texts', 'videos'), default='texts'
    )
    parser.add_argument('--probes', type=int, nargs='+', default=[50])
    parser.add_argument('--refine', type=int, nargs='+', default=[10])
    parser.add_argument(
        '--folder', type=Path, help='where the indices lie meanwhile'
    )
    parser.add_argument('--out', type=Path, help='write the table as JSON')
    args = parser.parse_args()
    if args.folder:
        args.folder.mkdir(parents=True, exist_ok=True)
    rows = [row for each in args.videos for row in measure(each, args)]
    report(
        f'First stage, queries like {args.queries_like}', rows, 'cpu', args.out
    )


if __name__ == '__main__':
    main()
