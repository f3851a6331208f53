"""An index in a folder or an object store, in Lance's format."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property, wraps
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from filelock import FileLock, Timeout

from mmtvr.errors import SetupError
from mmtvr.search.lance_folder import LOCK, check_folder, connect, is_made
from mmtvr.search.lance_indices import add_indices
from mmtvr.search.lance_neighbours import find_neighbours
from mmtvr.search.records import FileEntry, StoredVideos
from mmtvr.search.store import VideoStore
from mmtvr.search.video_rows import from_rows, to_rows, video_schema

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
