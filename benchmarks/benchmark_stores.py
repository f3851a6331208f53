"""Compare engines that could hold the vectors of an index.

Inserts made-up vectors in batches, then searches single queries for their 100
nearest. Each engine runs in a process of its own that is stopped after
``--time-limit`` seconds; its row then says how far it came, and it is not
tried at larger sizes. Queries end after ``--query-limit`` seconds: recall and
time are those of the ones that were answered. The vectors are unit vectors of
512 dimensions that vary in 64 directions plus noise: real features are not
spread evenly either. They are made in batches and kept in ``--folder`` in one
file of 4 bytes a number, 2 GB for a million, for all engines. What is not
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
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.made_up_vectors import (
    COUNT,
    WIDTH,
    MadeUpVectors,
    find_exactly,
    make_vectors,
)
from benchmarks.measuring import report
from benchmarks.store_candidates import CANDIDATES, Candidate

COLUMNS = (
    'inserts/s',
    'index, s',
    'query, ms',
    'queries',
    'bytes/vector',
    'memory, MiB',
    'recall@100',
    'import, s',
)


def measure(
    tell: Callable[[Any], None],
    kind: type[Candidate],
    made: MadeUpVectors,
    queries: np.ndarray,
    folder: Path,
    query_limit: float,
) -> dict[str, Any]:
    """Fill an engine and search it.

    Args:
        tell: Is told what was done so far.
        kind: The engine.
        made: The vectors.
        queries: Shape (Q, WIDTH).
        folder: Where it may write.
        query_limit: Seconds after which no more queries are sent.

    Returns:
        A row of the table, with the numbers found under ``found``.
    """
    engine = kind(folder, WIDTH)
    inserting, finishing = fill(tell, engine, made)
    found, seconds = search(engine, queries, query_limit)
    engine.close()
    used = sum(p.stat().st_size for p in folder.rglob('*') if p.is_file())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        'inserts/s': round(made.size / inserting),
        'index, s': round(finishing, 1),
        'query, ms': 1000 * median(seconds),
        'queries': len(seconds),
        'bytes/vector': round(used / made.size),
        'memory, MiB': round(peak / 2**10),
        'found': found,
    }


def fill(
    tell: Callable[[Any], None], engine: Candidate, made: MadeUpVectors
) -> tuple[float, float]:
    """Insert all vectors.

    Args:
        tell: Is told what was done so far.
        engine: Where to.
        made: The vectors.

    Returns:
        Seconds of inserting, and of what the engine does afterwards.
    """
    inserting = 0.0
    for first, vectors in made.batches():
        start = time.perf_counter()
        engine.insert(first, vectors)
        inserting += time.perf_counter() - start
        tell(f'{first + len(vectors)} inserted')
    start = time.perf_counter()
    engine.finish()
    finishing = time.perf_counter() - start
    tell('all inserted and indexed')
    return inserting, finishing


def search(
    engine: Candidate, queries: np.ndarray, limit: float
) -> tuple[list[list[int]], list[float]]:
    """Search one query after the other.

    Args:
        engine: Is filled.
        queries: Shape (Q, WIDTH); the first is searched once more before.
        limit: Seconds after which no more are sent.

    Returns:
        What was found for each that was answered, and in how many seconds.
    """
    engine.search(queries[0], COUNT)
    found, seconds = [], []
    for query in queries:
        start = time.perf_counter()
        found.append(engine.search(query, COUNT))
        seconds.append(time.perf_counter() - start)
        if sum(seconds) > limit:
            break
    return found, seconds


def _work(pipe: Any, *args: Any) -> None:
    try:
        pipe.send(measure(pipe.send, *args))
    except Exception as error:
        pipe.send(RuntimeError(f'{type(error).__name__}: {error}'[:200]))


def measure_apart(limit: float, top: Path, *args: Any) -> dict[str, Any] | str:
    """Measure in a process that is stopped when it takes too long.

    Args:
        limit: Seconds.
        top: Where folders can be made.
        *args: Engine, vectors and queries of :func:`measure`.

    Returns:
        The row, or why there is none.
    """
    kind, made, queries, query_limit = args
    context = multiprocessing.get_context('spawn')
    here, there = context.Pipe(duplex=False)
    temporary = tempfile.TemporaryDirectory(
        dir=top, ignore_cleanup_errors=True
    )
    with temporary as folder:
        rest = (kind, made, queries, Path(folder), query_limit)
        process = context.Process(target=_work, args=(there, *rest))
        end = time.monotonic() + limit
        process.start()
        there.close()
        answer: Any = 'nothing inserted'
        while isinstance(answer, str):
            if not here.poll(max(0, end - time.monotonic())):
                answer = RuntimeError(f'{answer} after {limit:g} s, stopped')
                break
            try:
                answer = here.recv()
            except EOFError:
                answer = RuntimeError(f'{answer}, then ended by itself')
        process.kill()
        process.join()
    return str(answer) if isinstance(answer, RuntimeError) else answer


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


def compare(
    size: int, kinds: list[type[Candidate]], args: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """Measure engines at one size.

    Args:
        size: How many vectors.
        kinds: The engines; those that take too long are removed.
        args: The command line.

    Yields:
        Rows of the table.
    """
    made = MadeUpVectors(args.folder / f'{size}.f32', size)
    # Behind the vectors of any size, so that no query is among them.
    queries = make_vectors(10**9, args.queries)
    truth = find_exactly(queries, made)
    for kind in list(kinds):
        row = {
            'engine': kind.name,
            'vectors': size,
            **dict.fromkeys(COLUMNS, ''),
        }
        answer = measure_apart(
            args.time_limit, args.folder, kind, made, queries, args.query_limit
        )
        if isinstance(answer, str):
            kinds.remove(kind)
            yield {**row, 'note': answer}
            continue
        found = answer.pop('found')
        hits = sum(map(len, map(set.intersection, truth, found)))
        answer['recall@100'] = hits / (COUNT * len(found))
        answer['import, s'] = import_seconds(kind.package)
        yield {**row, **answer, 'note': ''}


def main() -> None:
    """Measure all engines at all sizes and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        '--sizes', type=int, nargs='+', default=[20_000, 100_000, 1_000_000]
    )
    parser.add_argument('--queries', type=int, default=50)
    parser.add_argument('--time-limit', type=float, default=240.0)
    parser.add_argument('--query-limit', type=float, default=30.0)
    parser.add_argument('--folder', type=Path, help='where there is room')
    parser.add_argument('--out', type=Path, help='write the table as JSON')
    args = parser.parse_args()
    if args.folder:
        args.folder.mkdir(parents=True, exist_ok=True)
    kinds = [kind for kind in CANDIDATES if find_spec(kind.package)]
    rows = []
    with tempfile.TemporaryDirectory(dir=args.folder) as top:
        args.folder = args.folder or Path(top)
        for size in args.sizes:
            for row in compare(size, kinds, args):
                rows.append(row)
                print(row, flush=True)
    report('Engines', rows, 'cpu', args.out)


if __name__ == '__main__':
    main()
