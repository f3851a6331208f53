"""An index in a folder or an object store, in Lance's format."""

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmtvr.errors import SetupError
from mmtvr.search.store import FileEntry, StoredVideos, VideoStore
from mmtvr.search.token_bytes import pack_tokens, unpack_tokens

if TYPE_CHECKING:
    import pyarrow as pa

# Below this many vectors a scan is as fast as an index, and exact.
ROWS_FOR_INDEX = 100_000
KEYS_PER_FILTER = 500
STALENESS = timedelta(seconds=1)
SEARCH_EFFORT = 4


class LanceStore(VideoStore):
    """Tables of features, files and facts, in LanceDB.

    Each change is a commit: a process that is killed leaves the state before
    it, and other processes go on reading.

    Args:
        url: A folder, or an object store such as ``s3://bucket/index``.

    Raises:
        SetupError: LanceDB is not installed, or the folder holds something
            else.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        folder = Path(url)
        if '://' not in url and folder.is_dir():
            strangers = {p.name for p in folder.iterdir()} - KNOWN
            if strangers:
                raise SetupError(
                    f'{url} is no index: it holds {sorted(strangers)[0]!r}. '
                    'Give a folder that does not exist yet, or an index.'
                )
        self._database = _lancedb().connect(
            url, read_consistency_interval=STALENESS
        )
        self._tables: dict[str, Any] = {}
        self._about: dict | None = None

    def read_about(self) -> dict | None:
        """See :class:`VideoStore`."""
        if self._about is None:
            try:
                rows = self._table('about').to_arrow().to_pylist()
            except ValueError:
                return None
            self._about = json.loads(rows[0]['json'])
        return self._about

    def write_about(self, about: dict) -> None:
        """See :class:`VideoStore`."""
        import pyarrow as pa

        for name, schema in _schemas(about['width']).items():
            self._database.create_table(name, schema=schema, exist_ok=True)
        # Last: an index whose facts are there is whole.
        facts = pa.table({'json': [json.dumps(about)]})
        self._database.create_table('about', facts)

    def add_videos(self, videos: StoredVideos) -> None:
        """See :class:`VideoStore`."""
        import pyarrow as pa

        about = self.read_about()
        schema = _schemas(about['width'])['videos']
        pooled = pa.array(videos.pooled.astype(np.float16).ravel())
        precision = about['precision']
        columns = [
            pa.array(videos.contents),
            pa.FixedSizeListArray.from_arrays(pooled, about['width']),
            pa.array(
                [pack_tokens(each, precision) for each in videos.tokens],
                pa.large_binary(),
            ),
            pa.array(list(videos.times), pa.list_(pa.float32())),
        ]
        self._table('videos').add(pa.table(columns, schema=schema))

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
        found = self._table('files').search().select(['json'])
        for batch in found.to_batches():
            for row in batch.to_pylist():
                yield FileEntry.from_json(row['json'])

    def list_contents(self) -> set[str]:
        """See :class:`VideoStore`."""
        found = self._table('videos').search().select(['content'])
        return set(found.to_arrow()['content'].to_pylist())

    def find_files(self, contents: Sequence[str]) -> list[FileEntry]:
        """See :class:`VideoStore`."""
        table = self._table('files')
        rows = []
        for condition in _among('content', contents):
            found = table.search().where(condition).select(['json'])
            rows += found.to_arrow()['json'].to_pylist()
        return [FileEntry.from_json(row) for row in rows]

    def find_entry(self, key: str) -> FileEntry | None:
        """See :class:`VideoStore`."""
        found = self._table('files').search().where(f"key = '{key}'")
        rows = found.select(['json']).to_arrow()['json'].to_pylist()
        return FileEntry.from_json(rows[0]) if rows else None

    def nearest(
        self, queries: np.ndarray, count: int, tokens: bool = True
    ) -> list[tuple[StoredVideos, np.ndarray]]:
        """See :class:`VideoStore`."""
        columns = ['content', 'pooled', '_distance']
        columns += ['tokens', 'times'] if tokens else []
        found = []
        for query in queries:
            rows = (
                self._table('videos')
                .search(query.astype(np.float32), 'pooled')
                .distance_type('dot')
                .limit(count)
                .refine_factor(SEARCH_EFFORT)
                .select(columns)
                .to_arrow()
            )
            cosine = 1 - rows['_distance'].to_numpy()
            found.append((self._to_videos(rows), cosine))
        return found

    def read_videos(self, contents: Sequence[str]) -> StoredVideos:
        """See :class:`VideoStore`."""
        import pyarrow as pa

        table = self._table('videos')
        conditions = list(_among('content', contents)) or ['false']
        parts = [table.search().where(each).to_arrow() for each in conditions]
        return self._to_videos(pa.concat_tables(parts))

    def count_videos(self) -> int:
        """See :class:`VideoStore`."""
        return self._table('videos').count_rows()

    def refresh(self) -> None:
        """See :class:`VideoStore`."""
        for table in self._tables.values():
            table.checkout_latest()

    def tidy(self) -> None:
        """See :class:`VideoStore`."""
        self._table('files').optimize()
        self._table('videos').optimize()

    def _table(self, name: str) -> Any:
        if name not in self._tables:
            self._tables[name] = self._database.open_table(name)
        return self._tables[name]

    def _to_videos(self, rows: 'pa.Table') -> StoredVideos:
        about = self.read_about()
        width, precision = about['width'], about['precision']
        pooled = rows['pooled'].combine_chunks().flatten().to_numpy(False)
        tokens, times = [], []
        if 'tokens' in rows.column_names:
            tokens = [
                unpack_tokens(each, width, precision)
                for each in rows['tokens'].to_pylist()
            ]
            times = [
                np.asarray(each, np.float32)
                for each in rows['times'].to_pylist()
            ]
        return StoredVideos(
            rows['content'].to_pylist(),
            pooled.reshape(-1, width).astype(np.float32),
            tokens,
            times,
        )


KNOWN = {'about.lance', 'videos.lance', 'files.lance', '.lock'}


def _schemas(width: int) -> dict[str, 'pa.Schema']:
    import pyarrow as pa

    return {
        'videos': pa.schema(
            [
                pa.field('content', pa.string()),
                pa.field('pooled', pa.list_(pa.float16(), width)),
                pa.field('tokens', pa.large_binary()),
                pa.field('times', pa.list_(pa.float32())),
            ]
        ),
        'files': pa.schema(
            [pa.field(n, pa.string()) for n in ('key', 'content', 'json')]
        ),
    }


def _among(column: str, values: Sequence[str]) -> Iterator[str]:
    """Conditions for some values at a time, which are all hexadecimal."""
    for start in range(0, len(values), KEYS_PER_FILTER):
        listed = "', '".join(values[start : start + KEYS_PER_FILTER])
        yield f"{column} IN ('{listed}')"


def _lancedb() -> Any:
    try:
        import lancedb
    except ImportError as error:
        raise SetupError(
            'An index in a folder needs LanceDB, which is not installed: '
            'pip install lancedb'
        ) from error
    return lancedb
