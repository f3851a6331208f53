"""What makes a large table of LanceDB fast to search."""

import math
from typing import Any

# Below this many vectors a scan is fast enough, and exact.
ROWS_FOR_VECTORS = 100_000
ROWS_FOR_KEYS = 10_000
KEYS = ('key', 'content')
VECTOR = 'vector'
# Of the k-means that makes the lists.
ROUNDS = 10
VECTORS_PER_LIST = 128


def count_lists(rows: int) -> int:
    """Number of lists of the vector index.

    Each vector is compared with the centre of each list, which is what takes
    the time: LanceDB compares float16 number by number on processors that
    have AVX-512 but not its arithmetic of float16 (lance-format/lance#7428).
    A fixed number of vectors a list makes the time grow as their square; a
    million with 62 lists took 49 s of CPU time there.

    Args:
        rows: Vectors.

    Returns:
        At least one.
    """
    return max(1, math.isqrt(rows) // 16)


def vector_index(rows: int) -> Any:
    """Settings of the vector index.

    Args:
        rows: Vectors.

    Returns:
        For ``create_index`` of LanceDB.
    """
    from lancedb.index import IvfRq

    return IvfRq(
        distance_type='dot',
        num_partitions=count_lists(rows),
        max_iterations=ROUNDS,
        sample_rate=VECTORS_PER_LIST,
    )


def add_indices(table: Any) -> None:
    """Add the indices that a table is large enough for and does not have.

    Args:
        table: A table with some of the columns ``key``, ``content`` and
            ``vector``.
    """
    from lancedb.index import BTree

    rows = table.count_rows()
    present = {each.columns[0] for each in table.list_indices()}
    missing = set(table.schema.names) - present
    for column in missing.intersection(KEYS):
        if rows >= ROWS_FOR_KEYS:
            table.create_index(column, config=BTree())
    if VECTOR in missing and rows >= ROWS_FOR_VECTORS:
        table.create_index(VECTOR, config=vector_index(rows))
