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

from mmtvr.errors import SetupError, import_extra
from mmtvr.search.stores.base import (
    FileEntry,
    StoredVideos,
    VideoStore,
    pack_tokens,
    part_vectors,
    unpack_tokens,
)

if TYPE_CHECKING:
    import pyarrow as pa

LOCK = '.lock'
KNOWN_NAMES = {'about.lance', 'videos.lance', 'files.lance', LOCK}
# A reader sees what others write after this time.
STALENESS = timedelta(seconds=1)
CLEANUP_AGE = timedelta(milliseconds=1)
PUTS_PER_COMPACTION = 64
KEYS_PER_FILTER = 500

# Below this many vectors a scan is fast enough, and exact.
ROWS_FOR_VECTORS = 100_000
ROWS_FOR_KEYS = 10_000
# The codes of IVF_RQ are whole bytes.
WIDTH_MULTIPLE = 8
# Lists are made anew when there should be so many times as many.
GROWTH = 4
KMEANS_ITERATIONS = 10
VECTORS_PER_LIST = 128
# Of the vector index: lists that are looked into, and how many times the
# wanted number of codes are compared exactly.
PROBES = 50
REFINING = 10

Read = TypeVar('Read')


def _retry_after_compaction(read: Callable[..., Read]) -> Callable[..., Read]:
    """Read again if the version that was open has been removed."""

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
            index is read or made, that LanceDB is not installed.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._is_remote = '://' in url
        if not self._is_remote:
            _check_folder(Path(url))
        self._tables: dict[str, Any] = {}
        self._info: dict | None = None
        self._puts = 0

    def read_info(self) -> dict | None:
        """See :class:`VideoStore`."""
        # To connect would make the folder.
        is_there = self._is_remote or Path(self.url, 'about.lance').exists()
        if self._info is None and is_there:
            try:
                rows = self._table('about').to_arrow().to_pylist()
            except ValueError:
                return None
            self._info = json.loads(rows[0]['json'])
        return self._info

    def create(self, info: dict) -> None:
        """See :class:`VideoStore`."""
        database = self._database
        import pyarrow as pa

        text = pa.string()
        schemas = dict(
            videos=_video_schema(info['width']),
            files=pa.schema(
                [('key', text), ('content', text), ('json', text)]
            ),
        )
        for name, schema in schemas.items():
            database.create_table(name, schema=schema, exist_ok=True)
        # Last: an index whose facts are there is whole.
        database.create_table('about', pa.table({'json': [json.dumps(info)]}))

    def add_videos(self, videos: StoredVideos) -> None:
        """See :class:`VideoStore`."""
        info = self.read_info()
        rows = _to_rows(videos, info['parts'], info['precision'])
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
        for condition in _any_of('key', keys):
            self._table('files').delete(condition)

    def remove_videos(self, contents: Sequence[str]) -> None:
        """See :class:`VideoStore`."""
        for condition in _any_of('content', contents):
            self._table('videos').delete(condition)

    def list_files(self) -> Iterable[FileEntry]:
        """See :class:`VideoStore`."""
        return map(FileEntry.from_json, self._read_json())

    @_retry_after_compaction
    def list_contents(self) -> set[str]:
        """See :class:`VideoStore`."""
        return set(self._read_contents())

    def find_files(self, contents: Sequence[str]) -> list[FileEntry]:
        """See :class:`VideoStore`."""
        conditions = _any_of('content', contents)
        rows = [row for each in conditions for row in self._read_json(each)]
        return [FileEntry.from_json(row) for row in rows]

    def find_entry(self, key: str) -> FileEntry | None:
        """See :class:`VideoStore`."""
        rows = self._read_json(f"key = '{key}'")
        return FileEntry.from_json(rows[0]) if rows else None

    @_retry_after_compaction
    def nearest(
        self, query: np.ndarray, count: int
    ) -> list[tuple[str, float]]:
        """See :class:`VideoStore`."""
        parts = self.read_info()['parts']
        return find_neighbours(self._table('videos'), query, count, parts)

    @_retry_after_compaction
    def read_videos(self, contents: Sequence[str]) -> StoredVideos:
        """See :class:`VideoStore`."""
        table, info = self._table('videos'), self.read_info()
        import pyarrow as pa

        groups = [
            table.search().where(f'part = 0 AND {each}').to_arrow()
            for each in _any_of('content', contents) or ['false']
        ]
        found = _from_rows(
            pa.concat_tables(groups), info['width'], info['precision']
        )
        rows = {content: row for row, content in enumerate(found.contents)}
        return found.select([rows[each] for each in contents if each in rows])

    @_retry_after_compaction
    def count_videos(self) -> int:
        """See :class:`VideoStore`."""
        return self._table('videos').count_rows('part = 0')

    @contextmanager
    def lock(self) -> Iterator[None]:
        """See :class:`VideoStore`. Object stores have no lock."""
        if self._is_remote:
            yield
            return
        try:
            with FileLock(Path(self.url, LOCK), timeout=0):
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

    def compact(self) -> None:
        """See :class:`VideoStore`."""
        copies = [
            c for c, n in Counter(self._read_contents()).items() if n > 1
        ]
        for content in copies:
            videos = self.read_videos([content])
            self.remove_videos([content])
            self.add_videos(videos)
        for name in ('files', 'videos'):
            # Old versions go at once: they hold a copy of every feature.
            self._table(name).optimize(cleanup_older_than=CLEANUP_AGE)
            _add_indices(self._table(name))

    @cached_property
    def _database(self) -> Any:
        lancedb = import_extra('lancedb', 'search', 'an index in a folder')
        return lancedb.connect(self.url, read_consistency_interval=STALENESS)

    def _table(self, name: str) -> Any:
        if name not in self._tables:
            self._tables[name] = self._database.open_table(name)
        return self._tables[name]

    @_retry_after_compaction
    def _read_json(self, condition: str | None = None) -> list[str]:
        rows = self._table('files').search()
        if condition is not None:
            rows = rows.where(condition)
        return rows.select(['json']).to_arrow()['json'].to_pylist()

    def _read_contents(self) -> list[str]:
        rows = self._table('videos').search().where('part = 0')
        return rows.select(['content']).to_arrow()['content'].to_pylist()


def _check_folder(folder: Path) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise SetupError(
            f'{folder} is no index but a file. Give a folder that does not '
            'exist yet, or an index.'
        )
    others = {path.name for path in folder.iterdir()} - KNOWN_NAMES
    if others:
        raise SetupError(
            f'{folder} is no index: it holds {min(others)!r}. '
            'Give a folder that does not exist yet, or an index.'
        )


def _any_of(column: str, values: Sequence[str]) -> list[str]:
    """Conditions for some values at a time, which are all hexadecimal."""
    values = list(dict.fromkeys(values))
    starts = range(0, len(values), KEYS_PER_FILTER)
    groups = ["', '".join(values[i : i + KEYS_PER_FILTER]) for i in starts]
    return [f"{column} IN ('{group}')" for group in groups]


def _video_schema(width: int) -> 'pa.Schema':
    """A row for each part of a video, the features in that of part 0."""
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


def _to_rows(videos: StoredVideos, parts: int, precision: str) -> 'pa.Table':
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
    schema = _video_schema(width)
    vectors = pa.array(np.concatenate(columns[2]))
    columns[2] = pa.FixedSizeListArray.from_arrays(vectors, width)
    arrays = [
        column if isinstance(column, pa.Array) else pa.array(column, kind)
        for column, kind in zip(columns, schema.types, strict=True)
    ]
    return pa.table(arrays, schema=schema)


def _from_rows(rows: 'pa.Table', width: int, precision: str) -> StoredVideos:
    """Read features back, from rows of part 0."""
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
        See :meth:`VideoStore.nearest`.
    """
    rows = _search(table, query, count * parts)
    rows = rows.nprobes(probes).refine_factor(refining)
    return _best_parts(rows.to_arrow(), count)


def scan_neighbours(
    table: Any, query: np.ndarray, count: int, parts: int
) -> list[tuple[str, float]]:
    """:func:`find_neighbours` by comparing all vectors: without error."""
    rows = _search(table, query, count * parts).bypass_vector_index()
    return _best_parts(rows.to_arrow(), count)


def _search(table: Any, query: np.ndarray, limit: int) -> Any:
    rows = table.search(query.astype(np.float32), 'vector')
    rows = rows.distance_type('dot').limit(limit)
    return rows.select(['content', '_distance'])


def _best_parts(rows: 'pa.Table', count: int) -> list[tuple[str, float]]:
    best: dict[str, float] = {}
    cosines = 1 - rows['_distance'].to_numpy()
    for content, cosine in zip(
        rows['content'].to_pylist(), cosines.tolist(), strict=True
    ):
        best[content] = max(cosine, best.get(content, -1.0))
    return sorted(best.items(), key=lambda pair: -pair[1])[:count]


def count_lists(rows: int) -> int:
    """Number of lists of the vector index, at least one.

    Each vector is compared with the centre of each list, which is what takes
    the time: LanceDB compares float16 number by number on processors that
    have AVX-512 but not its arithmetic of float16 (lance-format/lance#7428).
    A fixed number of vectors a list makes the time grow as their square; a
    million with 62 lists took 49 s of CPU time there.
    """
    return max(1, math.isqrt(rows) // 16)


def vector_index(rows: int) -> Any:
    """Settings of the vector index of so many rows, for ``create_index``."""
    from lancedb.index import IvfRq

    return IvfRq(
        distance_type='dot',
        num_partitions=count_lists(rows),
        max_iterations=KMEANS_ITERATIONS,
        sample_rate=VECTORS_PER_LIST,
    )


def _add_indices(table: Any) -> None:
    """Add the indices that a table is large enough for and does not have."""
    from lancedb.index import BTree

    rows = table.count_rows()
    present = {each.columns[0] for each in table.list_indices()}
    if rows >= ROWS_FOR_KEYS:
        for column in {'key', 'content'} & set(table.schema.names) - present:
            table.create_index(column, config=BTree())
    if 'vector' in table.schema.names and rows >= ROWS_FOR_VECTORS:
        _add_vector_index(table, rows)


def _add_vector_index(table: Any, rows: int) -> None:
    """Index vectors, and anew where the table has grown far beyond that."""
    if table.schema.field('vector').type.list_size % WIDTH_MULTIPLE:
        return
    lists = count_lists(rows)
    names = [i.name for i in table.list_indices() if i.columns == ['vector']]
    names.sort(key=_lists_in_name)
    if not names or lists > GROWTH * _lists_in_name(names[-1]):
        # The number of its lists is in the name: LanceDB does not say.
        names.append(f'vector_{lists}')
        settings = vector_index(rows)
        table.create_index('vector', config=settings, name=names[-1])
    # Last, so that searches go on; also what a killed process left.
    for outgrown in names[:-1]:
        table.drop_index(outgrown)


def _lists_in_name(name: str) -> int:
    number = name.rpartition('_')[2]
    return int(number) if number.isdigit() else 0
