"""Measure what the vector index of an index loses against a scan of all.

``python tools/analysis/benchmark_recall.py --folder DIR_WITH_5_GB_FREE``

The features are made up, clustered as those of CLIP are: a video is a topic
plus its own direction, 4 parts of it vary around that; the number of topics
is the root of the number of videos and their sizes fall as 1 / rank; all
directions have variances that fall as 1 / rank (28 effective dimensions), and
all videos share a common direction (two videos have
cosines of about 0.5). A query is a text that tells of one part: it has
another common direction than videos (the gap between texts and videos), and a
cosine of about 0.3 with its part, so that it does not lie where the index has
seen vectors. ``--queries-like videos`` takes other videos as queries.

The index is that of the product in its own format, and a scan and a search of
it are timed in turn for each query. Recall@100 is the share of the 100 nearest
videos of the scan that the search finds too, own@100 how often the part that
the query tells of is among the 100, for the scan and for the search.
"""

import argparse
import tempfile
import time
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
from made_up_videos import BATCH, PARTS, WIDTH, MadeUpVideos, unit
from measuring import report

from mmtvr.search.stores.base import StoredVideos
from mmtvr.search.stores.lance import (
    LanceStore,
    find_neighbours,
    scan_neighbours,
)

COUNT = 100
SCANS_TO_TIME = 10


def fill(store: LanceStore, made: MadeUpVideos) -> float:
    """Write all videos and index them.

    Args:
        store: An empty store.
        made: The videos.

    Returns:
        Seconds of indexing.
    """
    store.create(dict(width=WIDTH, precision='int8', parts=PARTS))
    for first in range(0, made.count, BATCH):
        parts = made.make(first, min(BATCH, made.count - first))
        contents = [f'{first + row:032x}' for row in range(len(parts))]
        times = [np.arange(PARTS, dtype=np.float32)] * len(parts)
        pooled = unit(parts.mean(axis=1))
        store.add_videos(StoredVideos(contents, pooled, list(parts), times))
    start = time.perf_counter()
    store.compact()
    return time.perf_counter() - start


def measure(videos: int, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Compare settings of the index with a scan, at one size.

    Args:
        videos: How many.
        args: The command line.

    Returns:
        Rows of the table.
    """
    made = MadeUpVideos(videos)
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
    """Compare one setting with the scan.

    Args:
        table: Of the index.
        queries: Shape (Q, WIDTH).
        own: What each query tells of.
        exact: What the scan finds.
        probes: Lists that are looked into.
        refining: How many times the wanted rows are compared exactly.

    Returns:
        Recall and times.
    """
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
