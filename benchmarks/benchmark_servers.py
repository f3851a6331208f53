"""Measure what a server of an index takes for each video.

``python -m benchmarks.benchmark_servers ADDRESS --pid PID --videos 5000``

writes the synthetic features of ``benchmark_search.py`` into an index of a
server that runs on this machine, Milvus or PostgreSQL, has it make its index
of vectors, and searches. PID is that of the server, whose processor time and
memory are read, with its children: processor time does not depend on what
else the machine does. The index stays there.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.benchmark_search import SCENES, fill, make_videos
from benchmarks.measuring import report
from mmtvr.search.stores import open_store, pgvector
from mmtvr.search.stores.base import VideoStore

QUERIES = 100
# A server makes its index after a flush by itself, and is never quite idle.
QUIET_SECONDS = 10.0


class Usage:
    """Processor time and memory of a process and its children."""

    def __init__(self, pid: int) -> None:
        self.process = psutil.Process(pid)

    def seconds(self) -> float:
        """Processor time; that of children that have ended too."""
        own = self.process.cpu_times()
        alive = [c.cpu_times() for c in self.process.children(recursive=True)]
        each = [own.user + own.system, own.children_user, own.children_system]
        return sum(each) + sum(c.user + c.system for c in alive)

    def megabytes(self) -> float:
        """Memory that is its own, without what processes share."""
        family = [self.process, *self.process.children(recursive=True)]
        return sum(each.memory_full_info().uss for each in family) / 1e6

    def idle(self) -> float:
        """Processor time a second, of a server that nobody asks."""
        before = self.seconds()
        time.sleep(QUIET_SECONDS)
        return (self.seconds() - before) / QUIET_SECONDS

    def wait(self, idle: float) -> None:
        """Wait until it does little more than before."""
        while self.idle() > 2 * idle + 0.05:
            pass


def find_exactly(videos: int, queries: np.ndarray, count: int) -> list[set]:
    """The best contents of some queries, by comparing all parts."""
    batch = make_videos(0, videos)
    # Scenes are as long as parts.
    frames = np.stack(batch.tokens)
    parts = frames.reshape(videos, SCENES, -1, frames.shape[-1]).sum(2)
    parts /= np.linalg.norm(parts, axis=-1, keepdims=True)
    best = (parts.reshape(-1, parts.shape[-1]) @ queries.T).reshape(
        videos, SCENES, -1
    )
    order = np.argsort(-best.max(1), axis=0)[:count].T
    return [{batch.contents[row] for row in rows} for rows in order.tolist()]


def measure(store: VideoStore, usage: Usage, videos: int) -> dict[str, Any]:
    """Fill the index of a server and search it."""
    idle = usage.idle()
    memory, start, began = usage.megabytes(), usage.seconds(), time.time()
    filled = fill(store, videos, 'int8')
    usage.wait(idle)
    worked = usage.seconds() - start - idle * (time.time() - began)
    rng = np.random.default_rng(3)
    near = make_videos(0, QUERIES).tokens
    queries = np.stack([tokens[rng.integers(len(tokens))] for tokens in near])
    queries += 0.02 * rng.standard_normal(queries.shape, np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    store.nearest(queries[0], 100)
    before, times, found = usage.seconds(), [], []
    for query in queries:
        asked = time.perf_counter()
        found.append({content for content, _ in store.nearest(query, 100)})
        times.append(1000 * (time.perf_counter() - asked))
    searched = usage.seconds()
    exact = find_exactly(videos, queries, 100)
    kept = [len(a & b) / 100 for a, b in zip(found, exact, strict=True)]
    return {
        'videos': videos,
        'write, s': filled['write'],
        'CPU s to write and index': worked,
        'memory, MB': usage.megabytes() - memory,
        'CPU ms/query': 1000 * (searched - before) / QUERIES,
        'p50, ms': float(np.percentile(times, 50)),
        'of the best 100': float(np.mean(kept)),
    }


def main() -> None:
    """Measure one server and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('address')
    parser.add_argument('--pid', type=int, required=True)
    parser.add_argument('--videos', type=int, default=5000)
    parser.add_argument('--out', type=Path, help='write the table as JSON')
    args = parser.parse_args()
    # Also of few vectors.
    pgvector.ROWS_FOR_VECTORS = 1
    store = open_store(args.address)
    row = measure(store, Usage(args.pid), args.videos)
    report(f'Searching in {store.url}', [row], 'cpu', args.out)


if __name__ == '__main__':
    main()
