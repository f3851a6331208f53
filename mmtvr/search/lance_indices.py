"""What makes a large table of LanceDB fast to search."""

import math
from typing import Any

# Below this many vectors a scan is fast enough, and exact.
ROWS_FOR_VECTORS = 100_000
ROWS_FOR_KEYS = 10_000
KEYS = ('key', 'content')
VECTOR = 'vector'
# The codes of IVF_RQ are whole bytes.
MULTIPLE = 8
# Lists are made anew when there should be so many times as many.
GROWTH = 4
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

    The lists of the vector index are made anew when a table has grown far
    beyond the size that they were chosen for.

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
    if VECTOR in table.schema.names and rows >= ROWS_FOR_VECTORS:
        add_vector_index(table, rows)


def add_vector_index(table: Any, rows: int) -> None:
    """Index vectors, unless they are or cannot be.

    Args:
        table: A table with ``vector``.
        rows: Its number of rows.
    """
    if table.schema.field(VECTOR).type.list_size % MULTIPLE:
        return
    lists = count_lists(rows)
    names = [i.name for i in table.list_indices() if i.columns == [VECTOR]]
    names.sort(key=_read_lists)
    if not names or lists > GROWTH * _read_lists(names[-1]):
        # The number of its lists is in the name: LanceDB does not tell it.
        names.append(f'{VECTOR}_{lists}')
        settings = vector_index(rows)
        table.create_index(VECTOR, config=settings, name=names[-1])
    # Last, so that searches go on; also what a killed process left.
    for outgrown in names[:-1]:
        table.drop_index(outgrown)


def _read_lists(name: str) -> int:
    number = name.rpartition('_')[2]
    return int(number) if number.isdigit() else 0
