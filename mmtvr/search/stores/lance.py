"""An index in a folder or an object store, in Lance's format."""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from filelock import FileLock, Timeout

from mmtvr.errors import SetupError
from mmtvr.search.stores.base import (
    FileEntry,
    StoredVideos,
    VideoStore,
    pack_tokens,
    part_vectors,
    unpack_tokens,
)

LOCK = '.lock'
KNOWN = {'about.lance', 'videos.lance', 'files.lance', LOCK}
STALENESS = timedelta(seconds=1)


def check_folder(url: str) -> None:
    """Make sure that a place holds an index or nothing.

    Args:
        url: A folder, or an object store such as ``s3://bucket/index``.

    Raises:
        SetupError: It is a file, or the folder holds something else.
    """
    folder = Path(url)
    if '://' in url or not folder.exists():
        return
    if not folder.is_dir():
        raise SetupError(
            f'{url} is no index but a file. Give a folder that does not '
            'exist yet, or an index.'
        )
    strangers = {p.name for p in folder.iterdir()} - KNOWN
    if strangers:
        raise SetupError(
            f'{url} is no index: it holds {sorted(strangers)[0]!r}. '
            'Give a folder that does not exist yet, or an index.'
        )


def is_made(url: str) -> bool:
    """Say whether there may be an index, without making its folder.

    Args:
        url: As for :func:`check_folder`.

    Returns:
        Whether its facts are there; always true of an object store, which is
        asked itself.
    """
    return '://' in url or Path(url, 'about.lance').exists()


def connect(url: str) -> Any:
    """Connect to an index; a folder that is not there is made.

    Args:
        url: As for :func:`check_folder`.

    Returns:
        A database of LanceDB.

    Raises:
        SetupError: LanceDB is not installed.
    """
    try:
        import lancedb
    except ImportError as error:
        raise SetupError(
            'An index in a folder needs LanceDB, which is not installed: '
            'pip install lancedb'
        ) from error
    return lancedb.connect(url, read_consistency_interval=STALENESS)


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


if TYPE_CHECKING:
    import pyarrow as pa


def video_schema(width: int) -> 'pa.Schema':
    """Columns: a row for each part, the features in that of part 0.

    Args:
        width: D.

    Returns:
        The schema.
    """
    import pyarrow as pa

    return pa.schema(
        [
            ('content', pa.string()),
            ('part', pa.int16()),
            ('vector', pa.list_(pa.float16(), width)),
            ('pooled', pa.large_binary()),
            ('tokens', pa.large_binary()),
            ('times', pa.list_(pa.float32())),
        ]
    )


def to_rows(videos: StoredVideos, parts: int, precision: str) -> 'pa.Table':
    """Lay features out.

    Args:
        videos: The features.
        parts: Vectors of the first stage that are wanted of a video.
        precision: How tokens are kept.

    Returns:
        The rows of :func:`video_schema`.
    """
    import pyarrow as pa

    columns: list[list] = [[], [], [], [], [], []]
    for content, pooled, tokens, times in zip(*videos, strict=True):
        features = [
            pooled.astype('<f2').tobytes(),
            pack_tokens(tokens, precision),
            times,
        ]
        for number, vector in enumerate(part_vectors(pooled, tokens, parts)):
            row = [content, number, vector.astype(np.float16), *features]
            features = [None] * len(features)
            for column, value in zip(columns, row, strict=True):
                column.append(value)
    width = videos.pooled.shape[1]
    schema = video_schema(width)
    vectors = pa.array(np.concatenate(columns[2]))
    columns[2] = pa.FixedSizeListArray.from_arrays(vectors, width)
    arrays = [
        column if isinstance(column, pa.Array) else pa.array(column, kind)
        for column, kind in zip(columns, schema.types, strict=True)
    ]
    return pa.table(arrays, schema=schema)


def from_rows(rows: 'pa.Table', width: int, precision: str) -> StoredVideos:
    """Read features back.

    Args:
        rows: Rows of part 0.
        width: D.
        precision: How tokens are kept.

    Returns:
        The features.
    """
    pooled = b''.join(rows['pooled'].to_pylist())
    return StoredVideos(
        rows['content'].to_pylist(),
        np.frombuffer(pooled, '<f2').reshape(-1, width).astype(np.float32),
        [
            unpack_tokens(each, width, precision)
            for each in rows['tokens'].to_pylist()
        ],
        [np.asarray(each, np.float32) for each in rows['times'].to_pylist()],
    )


KEYS_PER_FILTER = 500
NO_TIME = timedelta(milliseconds=1)
PUTS_PER_COMPACTION = 64

Read = TypeVar('Read')


def _twice(read: Callable[..., Read]) -> Callable[..., Read]:
    """Read again if the version that was open has been tidied away."""

    @wraps(read)
    def reading(store: 'LanceStore', *args: object) -> Read:
        try:
            return read(store, *args)
        except (OSError, RuntimeError, ValueError):
            store.refresh()
            return read(store, *args)

    return reading


class LanceStore(VideoStore):
    """Tables of features, files and facts, in LanceDB.

    Each change is a commit: a process that is killed leaves the state before
    it, and other processes go on reading.

    Args:
        url: A folder, or an object store such as ``s3://bucket/index``.

    Raises:
        SetupError: The folder holds something else, or is a file; where the
            index is opened or made, that LanceDB is not installed.
    """

    def __init__(self, url: str) -> None:
        check_folder(url)
        self.url = url
        self._tables: dict[str, Any] = {}
        self._about: dict | None = None
        self._puts = 0

    def read_about(self) -> dict | None:
        """See :class:`VideoStore`."""
        if self._about is None and is_made(self.url):
            try:
                rows = self._table('about').to_arrow().to_pylist()
            except ValueError:
                return None
            self._about = json.loads(rows[0]['json'])
        return self._about

    def write_about(self, about: dict) -> None:
        """See :class:`VideoStore`."""
        import pyarrow as pa

        schemas = dict(
            videos=video_schema(about['width']),
            files=pa.schema(
                [(name, pa.string()) for name in ('key', 'content', 'json')]
            ),
        )
        for name, schema in schemas.items():
            self._database.create_table(name, schema=schema, exist_ok=True)
        # Last: an index whose facts are there is whole.
        facts = pa.table({'json': [json.dumps(about)]})
        self._database.create_table('about', facts)

    def add_videos(self, videos: StoredVideos) -> None:
        """See :class:`VideoStore`."""
        about = self.read_about()
        rows = to_rows(videos, about['parts'], about['precision'])
        self._table('videos').add(rows)

    def put_files(self, entries: Sequence[FileEntry]) -> None:
        """See :class:`VideoStore`."""
        import pyarrow as pa

        rows = pa.table(
            {
                'key': [entry.key for entry in entries],
                'content': [entry.content for entry in entries],
                'json': [entry.to_json() for entry in entries],
            }
        )
        merge = self._table('files').merge_insert('key')
        merge.when_matched_update_all().when_not_matched_insert_all().execute(
            rows
        )
        self._puts += 1
        if self._puts % PUTS_PER_COMPACTION == 0:
            self._table('files').optimize()

    def remove_files(self, keys: Sequence[str]) -> None:
        """See :class:`VideoStore`."""
        for condition in _among('key', keys):
            self._table('files').delete(condition)

    def remove_videos(self, contents: Sequence[str]) -> None:
        """See :class:`VideoStore`."""
        for condition in _among('content', contents):
            self._table('videos').delete(condition)

    def list_files(self) -> Iterable[FileEntry]:
        """See :class:`VideoStore`."""
        return map(FileEntry.from_json, self._list_json())

    @_twice
    def _list_json(self) -> list[str]:
        found = self._table('files').search().select(['json'])
        return found.to_arrow()['json'].to_pylist()

    @_twice
    def list_contents(self) -> set[str]:
        """See :class:`VideoStore`."""
        return set(self._contents())

    @_twice
    def find_files(self, contents: Sequence[str]) -> list[FileEntry]:
        """See :class:`VideoStore`."""
        table = self._table('files')
        rows = []
        for condition in _among('content', contents):
            found = table.search().where(condition).select(['json'])
            rows += found.to_arrow()['json'].to_pylist()
        return [FileEntry.from_json(row) for row in rows]

    @_twice
    def find_entry(self, key: str) -> FileEntry | None:
        """See :class:`VideoStore`."""
        found = self._table('files').search().where(f"key = '{key}'")
        rows = found.select(['json']).to_arrow()['json'].to_pylist()
        return FileEntry.from_json(rows[0]) if rows else None

    @_twice
    def nearest(
        self, query: np.ndarray, count: int
    ) -> list[tuple[str, float]]:
        """See :class:`VideoStore`."""
        parts = self.read_about()['parts']
        return find_neighbours(self._table('videos'), query, count, parts)

    @_twice
    def read_videos(self, contents: Sequence[str]) -> StoredVideos:
        """See :class:`VideoStore`."""
        import pyarrow as pa

        table = self._table('videos')
        parts = [
            table.search().where(f'part = 0 AND {each}').to_arrow()
            for each in _among('content', contents) or ['false']
        ]
        about = self.read_about()
        found = from_rows(
            pa.concat_tables(parts), about['width'], about['precision']
        )
        rows = {content: row for row, content in enumerate(found.contents)}
        return found.select([rows[each] for each in contents if each in rows])

    @_twice
    def count_videos(self) -> int:
        """See :class:`VideoStore`."""
        return self._table('videos').count_rows('part = 0')

    @contextmanager
    def lock(self) -> Iterator[None]:
        """See :class:`VideoStore`. Object stores have no lock."""
        if '://' in self.url:
            yield
            return
        lock = FileLock(Path(self.url, LOCK), timeout=0)
        try:
            with lock:
                yield
        except Timeout as error:
            raise SetupError(
                f'another process is indexing into {self.url}; searching '
                'goes on meanwhile, indexing has to wait for it'
            ) from error

    def refresh(self) -> None:
        """See :class:`VideoStore`."""
        for table in self._tables.values():
            table.checkout_latest()

    def tidy(self) -> None:
        """See :class:`VideoStore`."""
        copies = [c for c, n in Counter(self._contents()).items() if n > 1]
        for content in copies:
            videos = self.read_videos([content])
            self.remove_videos([content])
            self.add_videos(videos)
        for name in ('files', 'videos'):
            # Old versions go at once: they hold a copy of every feature.
            self._table(name).optimize(cleanup_older_than=NO_TIME)
            add_indices(self._table(name))

    @cached_property
    def _database(self) -> Any:
        return connect(self.url)

    def _contents(self) -> list[str]:
        found = self._table('videos').search().where('part = 0')
        return found.select(['content']).to_arrow()['content'].to_pylist()

    def _table(self, name: str) -> Any:
        if name not in self._tables:
            self._tables[name] = self._database.open_table(name)
        return self._tables[name]


def _among(column: str, values: Sequence[str]) -> list[str]:
    """Conditions for some values at a time, which are all hexadecimal."""
    values = list(dict.fromkeys(values))
    starts = range(0, len(values), KEYS_PER_FILTER)
    groups = ["', '".join(values[i : i + KEYS_PER_FILTER]) for i in starts]
    return [f"{column} IN ('{group}')" for group in groups]
