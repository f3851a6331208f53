"""Engines that could hold the vectors of an index, behind one interface."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np

from mmtvr.search.stores.lance import PROBES, REFINING, vector_index


class Candidate(ABC):
    """An engine, embedded in this process, with one collection.

    ``finish`` and ``close`` do nothing unless an engine needs them.

    Args:
        folder: Where it may write; empty.
        width: Dimensions of the vectors.
    """

    #: What its table says.
    name: str
    #: The package, imported when it is measured.
    package: str

    def __init__(self, folder: Path, width: int) -> None:
        self.folder = folder
        self.width = width
        self.start()

    @abstractmethod
    def start(self) -> None:
        """Make the collection."""

    @abstractmethod
    def insert(self, first: int, vectors: np.ndarray) -> None:
        """Add vectors.

        Args:
            first: Number of the first vector; the others follow.
            vectors: Shape (n, width), float32, unit vectors.
        """

    def finish(self) -> None:  # noqa: B027
        """Do what makes searching fast, after the last insert."""

    @abstractmethod
    def search(self, query: np.ndarray, count: int) -> list[int]:
        """Find the vectors with the highest dot products.

        Args:
            query: Shape (width,).
            count: How many.

        Returns:
            Their numbers.
        """

    def close(self) -> None:  # noqa: B027
        """Let go of files and threads."""


class NumpyScan(Candidate):
    """All vectors in one float16 file, compared with all of them."""

    name = 'numpy, exact scan'
    package = 'numpy'
    BLOCK = 65536

    def start(self) -> None:
        """Make the file."""
        self.path = self.folder / 'vectors.f16'
        self.path.touch()

    def insert(self, first: int, vectors: np.ndarray) -> None:
        """Append."""
        with self.path.open('ab') as file:
            file.write(vectors.astype(np.float16).tobytes())

    def search(self, query: np.ndarray, count: int) -> list[int]:
        """Multiply block by block."""
        table = np.memmap(self.path, np.float16).reshape(-1, self.width)
        scores = np.concatenate(
            [
                table[top : top + self.BLOCK].astype(np.float32) @ query
                for top in range(0, len(table), self.BLOCK)
            ]
        )
        best = np.argpartition(-scores, count)[:count]
        return best[np.argsort(-scores[best])].tolist()


class LanceScan(Candidate):
    """LanceDB without an index."""

    name = 'LanceDB, exact scan'
    package = 'lancedb'

    def start(self) -> None:
        """Make the table."""
        import lancedb
        import pyarrow as pa

        self.schema = pa.schema(
            [
                pa.field('id', pa.int64()),
                pa.field('vector', pa.list_(pa.float16(), self.width)),
            ]
        )
        database = lancedb.connect(self.folder)
        self.table = database.create_table('vectors', schema=self.schema)

    def insert(self, first: int, vectors: np.ndarray) -> None:
        """Commit one batch."""
        import pyarrow as pa

        values = pa.array(vectors.astype(np.float16).ravel())
        rows = [
            pa.array(np.arange(first, first + len(vectors))),
            pa.FixedSizeListArray.from_arrays(values, self.width),
        ]
        self.table.add(pa.table(rows, schema=self.schema))

    def query(self, query: np.ndarray, count: int) -> Any:
        """The query without options of an index."""
        found = self.table.search(query, 'vector').distance_type('dot')
        return found.limit(count).select(['id', '_distance'])

    def search(self, query: np.ndarray, count: int) -> list[int]:
        """Compare with all."""
        return self.query(query, count).to_arrow()['id'].to_pylist()


class LanceIndex(LanceScan):
    """LanceDB with codes of a bit per dimension, as mmtvr has it."""

    name = 'LanceDB, IVF_RQ'

    def finish(self) -> None:
        """Train the index."""
        settings = vector_index(self.table.count_rows())
        self.table.create_index('vector', config=settings)

    def search(self, query: np.ndarray, count: int) -> list[int]:
        """Look into some partitions, and compare the best exactly."""
        found = self.query(query, count).nprobes(PROBES)
        found = found.refine_factor(REFINING)
        return found.to_arrow()['id'].to_pylist()


class LanceGraph(LanceScan):
    """LanceDB with graphs over 8-bit numbers in each partition."""

    name = 'LanceDB, IVF_HNSW_SQ'

    def finish(self) -> None:
        """Build the graphs."""
        from lancedb.index import HnswSq

        self.table.create_index('vector', config=HnswSq(distance_type='dot'))

    def search(self, query: np.ndarray, count: int) -> list[int]:
        """Walk, and compare the best exactly."""
        found = self.query(query, count).ef(2 * count).refine_factor(2)
        return found.to_arrow()['id'].to_pylist()


class MilvusLite(Candidate):
    """The API of Milvus clusters, in this process."""

    name = 'Milvus Lite, AUTOINDEX'
    package = 'pymilvus'

    def start(self) -> None:
        """Make the collection."""
        from pymilvus import MilvusClient

        self.client = MilvusClient(str(self.folder / 'milvus.db'))
        self.client.create_collection(
            'vectors', dimension=self.width, metric_type='IP'
        )

    def insert(self, first: int, vectors: np.ndarray) -> None:
        """Insert one batch."""
        rows = [
            dict(id=first + number, vector=vector)
            for number, vector in enumerate(vectors)
        ]
        self.client.insert('vectors', rows)

    def search(self, query: np.ndarray, count: int) -> list[int]:
        """Search."""
        (hits,) = self.client.search('vectors', [query], limit=count)
        return [hit['id'] for hit in hits]

    def close(self) -> None:
        """Close the client."""
        self.client.close()


class QdrantLocal(Candidate):
    """The API of Qdrant clusters, in this process."""

    name = 'Qdrant, local mode'
    package = 'qdrant_client'

    def start(self) -> None:
        """Make the collection."""
        from qdrant_client import QdrantClient, models

        self.client = QdrantClient(path=str(self.folder / 'qdrant'))
        self.client.create_collection(
            'vectors',
            models.VectorParams(size=self.width, distance=models.Distance.DOT),
        )

    def insert(self, first: int, vectors: np.ndarray) -> None:
        """Upload one batch."""
        numbers = range(first, first + len(vectors))
        self.client.upload_collection('vectors', vectors, ids=numbers)

    def search(self, query: np.ndarray, count: int) -> list[int]:
        """Search."""
        found = self.client.query_points('vectors', query, limit=count)
        return [point.id for point in found.points]

    def close(self) -> None:
        """Close the client."""
        self.client.close()


CANDIDATES = (
    NumpyScan,
    LanceScan,
    LanceIndex,
    LanceGraph,
    MilvusLite,
    QdrantLocal,
)
