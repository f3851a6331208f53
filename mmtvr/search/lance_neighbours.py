"""The nearest videos of a query in a table of LanceDB."""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

# Of the vector index: lists that are looked into, and how many times the
# wanted number of codes are compared exactly.
PROBES = 50
REFINING = 10


def find_neighbours(
    table: Any,
    query: np.ndarray,
    count: int,
    parts: int,
    probes: int = PROBES,
    refining: int = REFINING,
) -> list[tuple[str, float]]:
    """Find contents by the vector index; by a scan if there is none.

    Args:
        table: Rows with ``content`` and ``vector``.
        query: Shape (D,), unit vector.
        count: How many contents.
        parts: Rows of a content.
        probes: Lists of the index that are looked into.
        refining: How many times the wanted rows are compared exactly.

    Returns:
        At most ``count`` contents and the cosine of their best part, the
        best first.
    """
    rows = _begin(table, query, count * parts)
    rows = rows.nprobes(probes).refine_factor(refining)
    return _best_parts(rows.to_arrow(), count)


def scan_neighbours(
    table: Any, query: np.ndarray, count: int, parts: int
) -> list[tuple[str, float]]:
    """Find contents by comparing all vectors.

    Args:
        table: Rows with ``content`` and ``vector``.
        query: Shape (D,), unit vector.
        count: How many contents.
        parts: Rows of a content.

    Returns:
        As :func:`find_neighbours`, without error.
    """
    rows = _begin(table, query, count * parts).bypass_vector_index()
    return _best_parts(rows.to_arrow(), count)


def _begin(table: Any, query: np.ndarray, limit: int) -> Any:
    found = table.search(query.astype(np.float32), 'vector')
    found = found.distance_type('dot').limit(limit)
    return found.select(['content', '_distance'])


def _best_parts(rows: 'pa.Table', count: int) -> list[tuple[str, float]]:
    best: dict[str, float] = {}
    cosines = 1 - rows['_distance'].to_numpy()
    for content, cosine in zip(
        rows['content'].to_pylist(), cosines.tolist(), strict=True
    ):
        best[content] = max(cosine, best.get(content, -1.0))
    return sorted(best.items(), key=lambda pair: -pair[1])[:count]
