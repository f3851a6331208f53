"""Compare engines that could hold the vectors of an index.

Inserts made-up vectors in batches, then searches single queries for their 100
nearest. Each engine runs in a process of its own that is stopped when it
takes more than ``--budget`` seconds, and so does not stand in the table at
larger sizes. The vectors are unit vectors of 512 dimensions that vary in 64
directions plus noise: real features are not spread evenly either. What is not
installed is left out.

``pip install pymilvus milvus-lite qdrant-client`` for all of them.
"""

import argparse
import multiprocessing
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from measuring import report
from store_candidates import CANDIDATES, Candidate

WIDTH, DIRECTIONS, NOISE = 512, 64, 0.5
BATCH = 2000
COUNT = 100


def make_vectors(first: int, count: int) -> np.ndarray:
    """Make up vectors, the same for the same numbers.

    Args:
        first: Number of the first one.
        count: How many.

    Returns:
        Shape (count, WIDTH), float32, unit vectors.
    """
    basis = np.random.default_rng(0).standard_normal((DIRECTIONS, WIDTH))
    rng = np.random.default_rng([1, first])
    where = rng.standard_normal((count, DIRECTIONS), np.float32)
    noise = rng.standard_normal((count, WIDTH), np.float32)
    vectors = where @ basis.astype(np.float32) / DIRECTIONS**0.5
    vectors += NOISE * noise
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def batches(size: int) -> Iterator[tuple[int, np.ndarray]]:
    """All vectors of a size.

    Args:
        size: How many in total.

    Yields:
        Number of the first vector of a batch, and the batch.
    """
    for first in range(0, size, BATCH):
        yield first, make_vectors(first, min(BATCH, size - first))


def find_exactly(queries: np.ndarray, size: int) -> list[set[int]]:
    """Find the nearest vectors of queries by comparing all.

    Args:
        queries: Shape (Q, WIDTH).
        size: How many vectors there are.

    Returns:
        For each query the numbers of its nearest.
    """
    numbers = np.zeros((len(queries), 0), np.int64)
    scores = np.zeros((len(queries), 0), np.float32)
    for first, vectors in batches(size):
        new = queries @ vectors.T
        scores = np.hstack([scores, new])
        own = np.arange(first, first + len(vectors))
        numbers = np.hstack([numbers, np.tile(own, (len(queries), 1))])
        best = np.argsort(-scores, axis=1)[:, :COUNT]
        scores = np.take_along_axis(scores, best, 1)
        numbers = np.take_along_axis(numbers, best, 1)
    return [set(row) for row in numbers.tolist()]


def measure(
    kind: type[Candidate], size: int, queries: np.ndarray, folder: Path
) -> dict[str, Any]:
    """Fill an engine and search it.

    Args:
        kind: The engine.
        size: How many vectors.
        queries: Shape (Q, WIDTH).
        folder: Where it may write.

    Returns:
        A row of the table, with the numbers found under ``found``.
    """
    engine = kind(folder, WIDTH)
    inserting = 0.0
    for first, vectors in batches(size):
        start = time.perf_counter()
        engine.insert(first, vectors)
        inserting += time.perf_counter() - start
    start = time.perf_counter()
    engine.finish()
    finishing = time.perf_counter() - start
    engine.search(queries[0], COUNT)
    found, seconds = [], []
    for query in queries:
        start = time.perf_counter()
        found.append(engine.search(query, COUNT))
        seconds.append(time.perf_counter() - start)
    engine.close()
    used = sum(p.stat().st_size for p in folder.rglob('*') if p.is_file())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        'engine': kind.name,
        'vectors': size,
        'inserts/s': round(size / inserting),
        'index, s': round(finishing, 1),
        'query, ms': 1000 * median(seconds),
        'bytes/vector': round(used / size),
        'memory, MiB': round(peak / 2**10),
        'found': found,
    }


def _work(pipe: Any, *args: Any) -> None:
    try:
        pipe.send(measure(*args))
    except Exception as error:
        pipe.send(f'{type(error).__name__}: {error}'[:200])


def measure_apart(
    kind: type[Candidate], size: int, queries: np.ndarray, budget: float
) -> dict[str, Any] | str:
    """Measure in a process that is stopped when it takes too long.

    Args:
        kind: The engine.
        size: How many vectors.
        queries: Shape (Q, WIDTH).
        budget: Seconds.

    Returns:
        The row, or why there is none.
    """
    context = multiprocessing.get_context('spawn')
    here, there = context.Pipe(duplex=False)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        args = (there, kind, size, queries, Path(folder))
        process = context.Process(target=_work, args=args)
        process.start()
        there.close()
        try:
            answer = here.recv() if here.poll(budget) else 'too slow'
        except EOFError:
            answer = 'ended without an answer'
        process.kill()
        process.join()
    return answer


def import_seconds(package: str) -> float:
    """How long a package takes to import in a new process.

    Args:
        package: Its name.

    Returns:
        Seconds, the start of Python not counted; the best of three.
    """
    code = (
        'import time; start = time.perf_counter(); '
        f'import {package}; print(time.perf_counter() - start)'
    )
    command = [sys.executable, '-c', code]
    return min(
        float(subprocess.check_output(command, stderr=subprocess.DEVNULL))
        for _ in range(3)
    )


def main() -> None:
    """Measure all engines at all sizes and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        '--sizes', type=int, nargs='+', default=[20_000, 100_000, 1_000_000]
    )
    parser.add_argument('--queries', type=int, default=50)
    parser.add_argument('--budget', type=float, default=600.0)
    parser.add_argument('--out', type=Path, help='write the table as JSON')
    args = parser.parse_args()
    kinds = [kind for kind in CANDIDATES if find_spec(kind.package)]
    rows = []
    for size in args.sizes:
        # Behind the vectors of any size, so that no query is among them.
        queries = make_vectors(10**9, args.queries)
        truth = find_exactly(queries, size)
        for kind in list(kinds):
            row = measure_apart(kind, size, queries, args.budget)
            if isinstance(row, str):
                print(f'{kind.name} at {size}: {row}', flush=True)
                kinds.remove(kind)
                continue
            hits = sum(
                len(right.intersection(found))
                for right, found in zip(truth, row.pop('found'), strict=True)
            )
            row['recall@100'] = hits / (COUNT * args.queries)
            rows.append({**row, 'import, s': import_seconds(kind.package)})
            print(rows[-1], flush=True)
    report('Engines', rows, 'cpu', args.out)


if __name__ == '__main__':
    main()
