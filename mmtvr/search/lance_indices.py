"""What makes a large table of LanceDB fast to search."""

from typing import Any

# Below this many vectors a scan is fast enough, and exact.
ROWS_FOR_VECTORS = 100_000
ROWS_FOR_KEYS = 10_000
KEYS = ('key', 'content')
VECTOR = 'vector'


def add_indices(table: Any) -> None:
    """Add the indices that a table is large enough for and does not have.

    Args:
        table: A table with some of the columns ``key``, ``content`` and
            ``vector``.
    """
    from lancedb.index import BTree, IvfRq

    rows = table.count_rows()
    present = {each.columns[0] for each in table.list_indices()}
    missing = set(table.schema.names) - present
    for column in missing.intersection(KEYS):
        if rows >= ROWS_FOR_KEYS:
            table.create_index(column, config=BTree())
    if VECTOR in missing and rows >= ROWS_FOR_VECTORS:
        table.create_index(VECTOR, config=IvfRq(distance_type='dot'))
