"""The first stage of an index in Lance's format, over parts of videos."""

from collections.abc import Set
from typing import Any

import numpy as np

from mmtvr.search.stores.base import (
    QueryVectors,
    compare_parts,
    whole_content,
)


class PartsInMemory:
    """The vectors of all parts of an index without a vector index.

    Comparing them with all vectors of a text is one product of matrices,
    which takes less time than LanceDB's scan for a single one.

    Args:
        table: Rows with ``content`` and ``vector``.

    Attributes:
        version: That of the table.
    """

    def __init__(self, table: Any) -> None:
        self.version = table.version
        rows = table.search().select(['content', 'vector']).to_arrow()
        rows = rows.sort_by('content').combine_chunks()
        contents = rows['content'].to_numpy()
        vectors = rows['vector'].combine_chunks().flatten()
        width = table.schema.field('vector').type.list_size
        self._vectors = vectors.to_numpy().reshape(-1, width).astype('f4')
        is_first = np.ones(len(contents), bool)
        is_first[1:] = contents[1:] != contents[:-1]
        self._starts = np.flatnonzero(is_first)
        self._contents = contents[self._starts]

    def choose(self, videos: Set[str] | None) -> np.ndarray:
        """Rows of some videos and their windows; of all where it is None."""
        if videos is None:
            return np.arange(len(self._contents))
        return np.flatnonzero(
            [whole_content(each) in videos for each in self._contents]
        )

    def nearest(
        self, query: QueryVectors, count: int, rows: np.ndarray
    ) -> list[str]:
        """The best of the contents in ``rows`` by :func:`compare_parts`."""
        if not len(rows):
            return []
        scores = compare_parts(query, self._vectors, self._starts)[rows]
        first = rows[np.argsort(-scores, kind='stable')[:count]]
        return self._contents[first].tolist()
