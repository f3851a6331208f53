"""The first stage of an index in Lance's format, over parts of videos.

Up to some size the vectors of all parts are in memory, beyond it their codes
(:mod:`mmtvr.search.stores.part_codes`). The frames of the videos that come
first are then read and compared.
"""

import functools
from collections.abc import Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from mmtvr.search.stores.base import (
    QueryVectors,
    compare_parts,
    pack_tokens,
    score_parts,
    unpack_tokens,
    whole_content,
)
from mmtvr.search.stores.part_codes import (
    PartCodes,
    count_centroids,
    train,
)

if TYPE_CHECKING:
    import pyarrow as pa
    from threadpoolctl import ThreadpoolController

# Vectors of which the distances to all centroids are in memory at a time.
CODED_AT_ONCE = 16_384
# Of how many of the first videos the frames are compared, behind vectors and
# behind codes: always as many, so that pages of results fit together.
FRAMES_BY_VECTORS = 300
FRAMES_BY_CODES = 1500
ROWS_PER_BLOCK = 500
THREADS = 2
# Up to so many videos the vectors of the parts alone lose almost nothing.
PARTS_ALONE = 3000
UNPACKED_AT_ONCE = 128
# Of the rows that codes are of, so many are looked at after a change.
ROWS_EXAMINED = 64
ORDER = [('content', 'ascending'), ('part', 'ascending')]


class PartsInMemory:
    """The vectors of all parts of some videos.

    Comparing them with all vectors of a text is one product of matrices,
    which takes less time than LanceDB's scan for a single one.

    Args:
        rows: With ``content``, ``part``, ``vector`` and their ids.
    """

    def __init__(self, rows: 'pa.Table') -> None:
        rows = rows.sort_by(ORDER).combine_chunks()
        contents = rows['content'].to_numpy()
        self._vectors = _to_matrix(rows, 'vector').astype(np.float32)
        is_first = np.ones(len(contents), bool)
        is_first[1:] = contents[1:] != contents[:-1]
        self._starts = np.flatnonzero(is_first)
        self.contents = contents[self._starts]
        self.rows = _to_ids(rows)[self._starts]

    def find_near(
        self, query: QueryVectors, count: int, videos: Set[str] | None
    ) -> np.ndarray:
        """Find the best by :func:`compare_parts`.

        Args:
            query: The text.
            count: How many.
            videos: Among these and their windows; None for all.

        Returns:
            Their numbers, the best first.
        """
        numbers = np.arange(len(self.contents))
        if videos is not None:
            chosen = [whole_content(each) in videos for each in self.contents]
            numbers = np.flatnonzero(chosen)
        if not len(numbers):
            return numbers
        scores = compare_parts(query, self._vectors, self._starts)[numbers]
        return numbers[np.argsort(-scores, kind='stable')[:count]]


def codes_to_rows(codes: PartCodes, version: int) -> 'pa.Table':
    """Rows of a table.

    Args:
        codes: The codes.
        version: That of the table of videos that the rows are of.
    """
    import pyarrow as pa

    def lists(values: np.ndarray) -> pa.Array:
        values = np.ascontiguousarray(values)
        flat = pa.array(values.reshape(-1))
        return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])

    videos = pa.table(
        {
            'content': codes.contents.astype(str),
            'codes': lists(codes.codes.astype(np.int32)),
            'residual_codes': lists(codes.residual_codes),
            'row': codes.rows,
        }
    )
    # In the same table, so that all change in one commit.
    centroids = pa.table(
        {
            'centroid': [each.tobytes() for each in codes.centroids],
            'version': np.full(len(codes.centroids), version),
        }
    )
    residuals = pa.table(
        {'residual': [each.tobytes() for each in codes.residuals]}
    )
    return pa.concat_tables(
        [centroids, residuals, videos], promote_options='default'
    )


def codes_from_rows(rows: 'pa.Table') -> tuple[PartCodes, int]:
    """Read what :func:`codes_to_rows` wrote: the codes, and the version."""
    videos = rows.filter(rows['content'].is_valid()).sort_by('content')
    versions = rows['version'].drop_null()
    # Column by column, as a search reads them: four times as fast.
    numbers = np.asfortranarray(_to_matrix(videos, 'codes'), np.int64)
    centroids = _from_bytes(rows['centroid'])
    if 'residual' in rows.column_names:
        residual_codes = _to_matrix(videos, 'residual_codes')
        residuals = _from_bytes(rows['residual'])
    else:
        residual_codes = np.zeros(numbers.shape, np.uint8)
        residuals = np.zeros_like(centroids[:1])
    found = PartCodes(
        videos['content'].to_numpy().astype(bytes),
        numbers,
        videos['row'].to_numpy(),
        centroids,
        residual_codes,
        residuals,
    )
    return found, versions[0].as_py()


def _from_bytes(column: 'pa.ChunkedArray') -> np.ndarray:
    vectors = column.drop_null().to_pylist()
    return np.stack([np.frombuffer(each, np.float32) for each in vectors])


@functools.cache
def blas_controller() -> 'ThreadpoolController':
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


class _OneBlasThread:
    """While it is entered, BLAS has one thread.

    Its threads wait for work actively, on cores that Lance's need. The number
    is that of the whole process: of several searches at a time the first one
    sets it, and the last one sets it back.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._entered = 0

    def __enter__(self) -> None:
        with self._lock:
            if not self._entered:
                limit = blas_controller().limit
                self._limit = limit(limits=1, user_api='blas')
            self._entered += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._entered -= 1
            if not self._entered:
                self._limit.restore_original_limits()


one_blas_thread = _OneBlasThread()


class FirstStage:
    """Finds candidates in one version of the table of videos.

    Args:
        table: The videos.
        facts: ``width``, ``precision`` and ``parts`` of the index.
        parts: Vectors of all videos, or of those without codes.
        codes: Those of most videos, where there are too many for memory.
    """

    def __init__(
        self,
        table: Any,
        facts: Mapping[str, Any],
        parts: PartsInMemory,
        codes: PartCodes | None = None,
    ) -> None:
        self.version = table.version
        self._table = table
        self._facts = facts
        self._parts = parts
        self._codes = codes

    def nearest(
        self, query: QueryVectors, count: int, videos: Set[str] | None
    ) -> list[str]:
        """The contents that are most like a text, the best first.

        Args:
            query: The text.
            count: How many.
            videos: Among these and their windows; None for all.
        """
        with one_blas_thread:
            return self._find_nearest(query, count, videos)

    def _find_nearest(
        self, query: QueryVectors, count: int, videos: Set[str] | None
    ) -> list[str]:
        parts, codes = self._parts, self._codes
        best = parts.find_near(query, max(count, FRAMES_BY_VECTORS), videos)
        if codes is None and (
            self._facts['parts'] == 1 or len(parts.contents) <= PARTS_ALONE
        ):
            return parts.contents[best[:count]].tolist()
        first, rest = np.split(best, [FRAMES_BY_VECTORS])
        names, rows = parts.contents[first], parts.rows[first]
        others = parts.contents[rest].tolist()
        if codes is not None:
            numbers = None if videos is None else codes.choose(videos)
            near = codes.find_near(query, max(count, FRAMES_BY_CODES), numbers)
            first, rest = np.split(near, [FRAMES_BY_CODES])
            names = np.append(names, codes.contents[first].astype(str))
            rows = np.append(rows, codes.rows[first])
            others = codes.contents[rest].astype(str).tolist() + others
        return (self._rank_by_frames(query, names, rows) + others)[:count]

    def find_rows(self, contents: Sequence[str]) -> np.ndarray:
        """The first rows of those that are known; ids of this version."""
        known = [(self._parts.contents, self._parts.rows)]
        if self._codes is not None:
            known.append((self._codes.contents, self._codes.rows))
        found = []
        for names, rows in known:
            if len(names):
                wanted = np.array(contents, names.dtype)
                place = np.searchsorted(names, wanted) % len(names)
                found.append(rows[place[names[place] == wanted]])
        return np.concatenate([np.zeros(0, np.int64), *found])

    def _rank_by_frames(
        self, query: QueryVectors, names: np.ndarray, rows: np.ndarray
    ) -> list[str]:
        """Contents by :func:`compare_parts` with all frames.

        Args:
            query: The text.
            names: Contents.
            rows: The row of each; those that are no more are left out.
        """
        by_row = np.argsort(rows)
        names, rows = names[by_row], rows[by_row]
        blocks = np.array_split(rows, max(1, len(rows) // ROWS_PER_BLOCK))
        # With one part the head compares no frames.
        column = 'vector' if self._facts['parts'] == 1 else 'tokens'
        with ThreadPoolExecutor(THREADS) as pool:
            scored = pool.map(
                lambda some: self._compare(
                    query, take(self._table, some, [column])
                ),
                blocks,
            )
            ids, scores = map(np.concatenate, zip(*scored, strict=True))
        names = names[np.searchsorted(rows, ids)]
        # Of equal ones always the same first: pages depend on it.
        return names[np.lexsort((names, -scores))].tolist()

    def _compare(
        self, query: QueryVectors, found: 'pa.Table'
    ) -> tuple[np.ndarray, np.ndarray]:
        """Ids of rows and how much they are like a text."""
        if self._facts['parts'] == 1:
            vectors = _to_matrix(found, 'vector').astype(np.float32)
            scores = compare_parts(query, vectors, np.arange(len(vectors)))
            return _to_ids(found), scores
        precision = self._facts['precision']
        packed = found['tokens'].to_pylist()
        if not all(packed):
            # Of some videos the whole alone is known.
            columns = ['tokens', 'vector']
            found = take(self._table, _to_ids(found), columns)
            packed = [
                tokens or pack_tokens(vector[None], precision)
                for tokens, vector in zip(
                    found['tokens'].to_pylist(),
                    _to_matrix(found, 'vector').astype(np.float32),
                    strict=True,
                )
            ]
        vectors = query.vectors
        order, cosines, starts = multiply_tokens(packed, vectors, precision)
        return _to_ids(found)[order], score_parts(query, cosines, starts)


def multiply_tokens(
    packed: Sequence[bytes], vectors: np.ndarray, precision: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Multiply tokens of V videos with vectors.

    Args:
        packed: See :func:`pack_tokens`.
        vectors: Shape (Q, D), float32.
        precision: How the tokens are kept.

    Returns:
        Numbers of the videos, shape (V,); the products of their tokens, shape
        (sum of T, Q), float32, in the order of these; and the first of each,
        shape (V,).
    """
    width = vectors.shape[1]
    size = len(pack_tokens(np.zeros((1, width), np.float32), precision))
    lengths = np.fromiter(map(len, packed), np.int64, len(packed))
    order = np.argsort(lengths, kind='stable')
    starts = np.cumsum([0, *lengths[order] // size])
    products = np.empty((starts[-1], len(vectors)), np.float32)
    for length in np.unique(lengths):
        alike = np.flatnonzero(lengths[order] == length)
        # A few at a time, which stay in the cache meanwhile.
        for first in range(0, len(alike), UNPACKED_AT_ONCE):
            some = alike[first : first + UNPACKED_AT_ONCE]
            joined = b''.join([packed[number] for number in order[some]])
            tokens = unpack_tokens(joined, width, precision, len(some))
            rows = slice(starts[some[0]], starts[some[-1] + 1])
            np.matmul(tokens, vectors.T, out=products[rows])
    return order, products, starts[:-1]


def take(table: Any, rows: np.ndarray, columns: Sequence[str]) -> 'pa.Table':
    """Some rows by their ids, which come with them, in the order of these.

    Those that are no more are left out.
    """
    found = table.take_row_ids(np.unique(rows).tolist()).with_row_id()
    return found.select(list(columns)).to_arrow()


def read_parts(rows: Any) -> PartsInMemory:
    """Read the rows of a query."""
    columns = ['content', 'part', 'vector']
    return PartsInMemory(rows.with_row_id(True).select(columns).to_arrow())


def _to_ids(rows: 'pa.Table') -> np.ndarray:
    return rows['_rowid'].to_numpy().astype(np.int64)


def _to_matrix(rows: 'pa.Table', column: str) -> np.ndarray:
    width = rows.schema.field(column).type.list_size
    flat = rows[column].combine_chunks().flatten().to_numpy()
    return flat.reshape(-1, width)


def are_codes_of(codes: PartCodes, table: Any) -> bool:
    """Whether the rows of a table are, for the most part, those coded."""
    some = np.linspace(0, len(codes.rows) - 1, ROWS_EXAMINED).astype(int)
    there = take(table, codes.rows[some], ['content'])['content'].to_pylist()
    expected = set(codes.contents[some].astype(str).tolist())
    return 2 * len(expected & set(there)) > len(expected)


def code_videos(table: Any, known: PartCodes | None) -> PartCodes:
    """Find the codes of all parts.

    Args:
        table: The videos, at least one.
        known: Codes of an earlier state: they and their centroids stay,
            until there should be many more centroids.
    """
    rows = table.search().with_row_id(True).select(['content', 'part'])
    rows = rows.to_arrow().sort_by(ORDER)
    ids = _to_ids(rows)
    is_first = rows['part'].to_numpy() == 0
    contents = rows['content'].filter(is_first).to_numpy().astype(bytes)
    firsts = np.flatnonzero(is_first)
    counts = np.diff(firsts, append=len(ids))
    places = np.minimum(np.arange(counts.max()), counts[:, None] - 1)
    rows_of = ids[firsts[:, None] + places]

    def read(rows: np.ndarray) -> np.ndarray:
        vectors = _to_matrix(take(table, rows, ['vector']), 'vector')
        return vectors.astype(np.float32)

    if known is None or not known.fits(len(ids)):
        found = train(read, ids, count_centroids(len(ids)))
        known = PartCodes.empty(*found, rows_of.shape[1])
    codes = np.zeros(rows_of.shape, np.int64)
    residual_codes = np.zeros(rows_of.shape, np.uint8)
    is_known = known.includes(contents)
    place = np.searchsorted(known.contents, contents[is_known])
    codes[is_known] = known.codes[place]
    residual_codes[is_known] = known.residual_codes[place]
    new = np.flatnonzero(~is_known)
    step = max(1, CODED_AT_ONCE // codes.shape[1])
    for first in range(0, len(new), step):
        some = new[first : first + step]
        # Also of those that repeat their last part.
        unique, place = np.unique(rows_of[some], return_inverse=True)
        place = place.reshape(len(some), -1)
        coarse, fine = known.encode(read(unique))
        codes[some], residual_codes[some] = coarse[place], fine[place]
    return known._replace(
        contents=contents,
        codes=codes,
        rows=ids[firsts],
        residual_codes=residual_codes,
    )
