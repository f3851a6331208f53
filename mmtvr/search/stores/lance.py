"""An index in a folder or an object store, in Lance's format."""

import json
import math
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cached_property, partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from filelock import FileLock, Timeout

from mmtvr.errors import (
    DENIED,
    FULL,
    TOO_MANY_FILES,
    SetupError,
    find_errno,
    first_line,
    import_extra,
)
from mmtvr.search.filters import BOOLEAN, NUMBER, TEXT, Filter
from mmtvr.search.progress import NAME as PROGRESS
from mmtvr.search.stores.base import (
    CONTENT_DIGITS,
    DamagedIndexError,
    FileEntry,
    IndexUnavailableError,
    Metadata,
    QueryVectors,
    StoredVideos,
    Value,
    VideoStore,
    check_columns,
    check_info,
    pack_tokens,
    part_vectors,
    same_model,
    unpack_tokens,
)
from mmtvr.search.stores.checksums import NAME as CHECKSUMS
from mmtvr.search.stores.checksums import (
    begin_change,
    count_unrecorded,
    find_damage,
    update_checksums,
)
from mmtvr.search.stores.lance_parts import (
    FirstStage,
    are_codes_of,
    code_videos,
    codes_from_rows,
    codes_to_rows,
    read_parts,
    take,
)
from mmtvr.search.stores.part_codes import PartCodes

if TYPE_CHECKING:
    import pyarrow as pa

LOCK = '.lock'
KNOWN_NAMES = {
    *('about.lance', 'videos.lance', 'files.lance', 'metadata.lance'),
    *('codes.lance', LOCK),
}
# A reader sees what others write after this time.
STALENESS = timedelta(seconds=1)
# Of these an index is compared with its checksums when it is opened: 0.05 s.
BYTES_WHEN_OPENED = 64 * 2**20
MAX_REASON = 200
CLEANUP_AGE = timedelta(milliseconds=1)
PUTS_PER_COMPACTION = 64
KEYS_PER_FILTER = 500
# Up to so many contents the vector search itself looks at these alone; a list
# of 10,000 takes longer than the search, one of 50,000 15 times as long.
CONTENTS_PER_SEARCH = 1000
METADATA = 'metadata'
CODES = 'codes'

# Below this many vectors a scan is fast enough, and exact.
ROWS_FOR_VECTORS = 100_000
ROWS_FOR_KEYS = 10_000
# The codes of IVF_RQ are whole bytes.
WIDTH_MULTIPLE = 8
# Lists are rebuilt when there should be this many times as many.
GROWTH = 4
KMEANS_ITERATIONS = 10
VECTORS_PER_LIST = 128
# Of the vector index: lists that are looked into, and how many times the
# wanted number of codes are compared exactly.
PROBES = 50
REFINING = 10
# Up to this size the vectors of all parts are compared in memory; beyond it
# their codes, which are read sooner and compared sooner.
BYTES_WITHOUT_CODES = 2**27
# Without codes, as an older mmtvr left an index, up to this size; it takes
# almost three times as much while they are loaded.
BYTES_IN_MEMORY = 2**30

# Columns of the table of metadata that no column of a user can be named as.
METADATA_KEYS = ('$key', '$content', '$json', '$text')
TYPE_NAMES = dict(string=TEXT, double=NUMBER, bool=BOOLEAN)
# Words are compared by their stem, without accents.
WORDS = dict(
    language='English',
    stem=True,
    remove_stop_words=True,
    ascii_folding=True,
    with_position=False,
)

Method = TypeVar('Method', bound=Callable[..., Any])
NOT_DAMAGE = (*FULL, *DENIED, *TOO_MANY_FILES)
# What LanceDB says of its own source.
RUST_SOURCE = re.compile(r', /\S*\.rs:\d+.*')


def _guard(method: Method, tries: int = 1) -> Method:
    """Raise one error of ours where LanceDB raises one of many, or panics."""

    @wraps(method)
    def guarded(store: 'LanceStore', *args: Any) -> Any:
        for attempt in range(tries):
            try:
                if attempt:
                    store.refresh()
                return method(store, *args)
            except (SetupError, MemoryError, GeneratorExit):
                raise
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:  # panics of Rust are no Exception
                failure = error
        if find_errno(failure) in NOT_DAMAGE:
            raise failure
        if method.__name__ != 'read_info':
            # It may have been removed, or made anew by another model.
            store.check_open()
        raise store.explain(failure) from failure

    return guarded


def _guard_reading(method: Method) -> Method:
    """Guard, and read again if the version that was open is removed."""
    return _guard(method, tries=2)


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
        self._opened: dict | None = None
        self._seen: object = None
        self._puts = 0
        self._first: FirstStage | None = None

    @_guard
    def read_info(self) -> dict | None:
        """See :class:`VideoStore`."""
        seen = self._look()
        if seen != self._seen or self._info is None:
            self._tables = {}
            # It has what it read of files that were there before.
            vars(self).pop('_database', None)
            self._info = None if seen is None else self._read_facts()
            self._seen = seen
            self._opened = self._opened or self._info
        return self._info

    def _look(self) -> object:
        """What changes where another index takes the place of this one."""
        if self._is_remote:
            # To ask costs a request: it is compared when it is opened alone.
            return True
        facts = Path(self.url, 'about.lance')
        # Its versions change where it is made again in place.
        for folder in (facts / '_versions', facts):
            with suppress(FileNotFoundError):
                status = os.stat(folder)
                return status.st_dev, status.st_ino, status.st_mtime_ns
        damage = find_damage(Path(self.url), BYTES_WHEN_OPENED)
        if damage and Path(self.url, 'videos.lance').exists():
            raise DamagedIndexError(self.url, damage[0])
        return None

    def _read_facts(self) -> dict | None:
        if not self._is_remote:
            damage = find_damage(Path(self.url), BYTES_WHEN_OPENED)
            if damage:
                raise DamagedIndexError(self.url, damage[0])
        try:
            table = self._open_table('about')
        except ValueError as error:
            if 'not found' in str(error):
                # A process was killed before it was whole.
                return None
            raise
        (row,) = table.to_arrow().to_pylist()
        return check_info(json.loads(row['json']), self.url)

    def check_open(self) -> None:
        """Check that the index is there, and of the model that it was of.

        Raises:
            IndexUnavailableError: It is not.
        """
        info = self.read_info()
        if self._opened is None or info is self._opened:
            return
        if info is None:
            raise IndexUnavailableError(
                f'the index {self.url} is no longer there: put it back, or '
                'make it again with `mmtvr index CONFIG VIDEOS --into INDEX`'
            )
        if not same_model(info, self._opened):
            raise IndexUnavailableError(
                f'the index {self.url} was made again by another model '
                f'({info.get("name")}, before {self._opened.get("name")}) '
                'while it was open: start this program again'
            )
        self._opened = info

    def explain(self, error: BaseException) -> SetupError:
        """What an error of LanceDB means."""
        why = RUST_SOURCE.sub('', first_line(error))[:MAX_REASON]
        if self._is_remote:
            return IndexUnavailableError(
                f'the index {self.url} cannot be read: {why}'
            )
        damage = find_damage(Path(self.url), BYTES_WHEN_OPENED)
        return DamagedIndexError(self.url, damage[0] if damage else why)

    def find_damage(self) -> tuple[list[str], str]:
        """See :class:`VideoStore`."""
        if self._is_remote:
            return [], 'files of an object store have no checksums of mmtvr'
        folder = Path(self.url)
        missing = count_unrecorded(folder)
        note = ''
        if missing:
            note = (
                f'{missing} files have no checksum, as an older mmtvr made '
                'them or a process was killed: the next `mmtvr index` that '
                'changes something adds them'
            )
        return find_damage(folder), note

    @_guard
    def create(self, info: dict) -> None:
        """See :class:`VideoStore`."""
        import pyarrow as pa

        self._tables, self._opened = {}, None
        there = set(self._database.list_tables().tables)
        for name in there & {METADATA, CODES}:
            self._database.drop_table(name)
        text = pa.string()
        schemas = dict(
            videos=_video_schema(info['width']),
            files=pa.schema(
                [('key', text), ('content', text), ('json', text)]
            ),
        )
        # What is there is empty, or a killed process did not finish it.
        modes = {name: 'overwrite' for name in there}
        for name, schema in schemas.items():
            mode = modes.get(name, 'create')
            self._database.create_table(name, schema=schema, mode=mode)
        # Last: an index whose facts are there is whole.
        about = pa.table({'json': [json.dumps(info)]})
        mode = modes.get('about', 'create')
        self._database.create_table('about', about, mode=mode)
        self._record()

    @_guard
    def write_info(self, info: dict) -> None:
        """See :class:`VideoStore`."""
        import pyarrow as pa

        about = pa.table({'json': [json.dumps(info)]})
        # One commit: a reader sees the facts before or after it.
        self._table('about').add(about, mode='overwrite')
        self._record()
        self._info = None

    def _record(self) -> None:
        """Keep checksums of the files that were just written."""
        if not self._is_remote:
            update_checksums(Path(self.url))

    @_guard
    def add_videos(self, videos: StoredVideos) -> None:
        """See :class:`VideoStore`."""
        info = self.read_info()
        rows = _to_rows(videos, info['parts'], info['precision'])
        self._table('videos').add(rows)
        self._record()

    @_guard
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
        self._record()

    @_guard
    def remove_files(self, keys: Sequence[str]) -> None:
        """See :class:`VideoStore`."""
        for condition in _any_of('key', keys):
            self._table('files').delete(condition)
        self._record()

    @_guard
    def remove_videos(self, contents: Sequence[str]) -> None:
        """See :class:`VideoStore`."""
        for condition in _any_of('content', contents):
            self._table('videos').delete(condition)
        self._record()

    @_guard_reading
    def list_files(self) -> list[FileEntry]:
        """See :class:`VideoStore`."""
        return [FileEntry.from_json(row) for row in self._read_json()]

    @_guard_reading
    def list_contents(self) -> set[str]:
        """See :class:`VideoStore`."""
        return set(self._read_contents())

    @_guard_reading
    def find_files(self, contents: Sequence[str]) -> list[FileEntry]:
        """See :class:`VideoStore`."""
        conditions = _any_of('content', contents)
        rows = [row for each in conditions for row in self._read_json(each)]
        return [FileEntry.from_json(row) for row in rows]

    @_guard_reading
    def find_entry(self, key: str) -> FileEntry | None:
        """See :class:`VideoStore`."""
        rows = self._read_json(f"key = '{key}'")
        return FileEntry.from_json(rows[0]) if rows else None

    @_guard_reading
    def nearest(
        self, query: np.ndarray, count: int
    ) -> list[tuple[str, float]]:
        """See :class:`VideoStore`."""
        parts = self.read_info()['parts']
        return find_neighbours(self._table('videos'), query, count, parts)

    @_guard_reading
    def nearest_each(
        self, queries: np.ndarray, count: int
    ) -> list[list[tuple[str, float]]]:
        """See :class:`VideoStore`."""
        parts = self.read_info()['parts']
        return find_neighbours_each(
            self._table('videos'), queries, count, parts
        )

    @_guard_reading
    def nearest_within(
        self, queries: np.ndarray, count: int, contents: Set[str]
    ) -> list[list[tuple[str, float]]]:
        """See :class:`VideoStore`."""
        if not contents:
            return [[] for _ in queries]
        if len(contents) > CONTENTS_PER_SEARCH:
            return super().nearest_within(queries, count, contents)
        names = "', '".join(contents)
        table, parts = self._table('videos'), self.read_info()['parts']
        found = []
        for query in queries:
            rows = _search(table, query.astype(np.float32), count * parts)
            # So few are compared exactly, whether there is an index or not.
            rows = rows.where(
                f"left(content, {CONTENT_DIGITS}) IN ('{names}')",
                prefilter=True,
            )
            rows = rows.bypass_vector_index()
            found.append(_best_parts(rows.to_arrow(), count))
        return found

    @_guard_reading
    def list_columns(self) -> dict[str, str]:
        """See :class:`VideoStore`."""
        self.check_open()
        if METADATA not in self._database.list_tables().tables:
            return {}
        schema = self._table(METADATA).schema
        return {
            field.name: TYPE_NAMES[str(field.type)]
            for field in schema
            if field.name not in METADATA_KEYS
        }

    @_guard
    def add_columns(self, columns: dict[str, str]) -> None:
        """See :class:`VideoStore`."""
        import pyarrow as pa
        from lancedb.index import FTS

        there = self.list_columns()
        types = {TEXT: pa.string(), NUMBER: pa.float64(), BOOLEAN: pa.bool_()}
        new = [
            pa.field(name, types[kind])
            for name, kind in check_columns(there, columns, self.url).items()
        ]
        if not there:
            keys = [pa.field(name, pa.string()) for name in METADATA_KEYS]
            self._database.create_table(METADATA, schema=pa.schema(keys + new))
        elif new:
            self._table(METADATA).add_columns(pa.schema(new))
        self._tables.pop(METADATA, None)
        table = self._table(METADATA)
        if all(each.columns != ['$text'] for each in table.list_indices()):
            # Before there is text: LanceDB searches it by an index alone.
            table.create_index('$text', config=FTS(**WORDS))
        self._record()

    @_guard
    def put_metadata(self, rows: Sequence[Metadata]) -> None:
        """See :class:`VideoStore`."""
        import pyarrow as pa

        if not rows:
            return
        table = self._table(METADATA)
        columns: dict[str, list] = {
            '$key': [row.key for row in rows],
            '$content': [row.content for row in rows],
            '$json': [row.to_json() for row in rows],
            '$text': [_valid(row.searched_text) for row in rows],
        }
        for name in self.list_columns():
            columns[name] = [_valid(row.columns.get(name)) for row in rows]
        merge = table.merge_insert('$key')
        merge.when_matched_update_all().when_not_matched_insert_all().execute(
            pa.table(columns, schema=table.schema)
        )
        self._puts += 1
        if self._puts % PUTS_PER_COMPACTION == 0:
            table.optimize()
        self._record()

    @_guard
    def remove_metadata(self, keys: Sequence[str]) -> None:
        """See :class:`VideoStore`."""
        if not self.list_columns():
            return
        for condition in _any_of('`$key`', keys):
            self._table(METADATA).delete(condition)
        self._record()

    @_guard_reading
    def list_metadata(self) -> list[Metadata]:
        """See :class:`VideoStore`."""
        return self._read_metadata(None)

    @_guard_reading
    def find_metadata(self, keys: Sequence[str]) -> dict[str, Metadata]:
        """See :class:`VideoStore`."""
        rows = [
            row
            for condition in _any_of('`$key`', keys)
            for row in self._read_metadata(condition)
        ]
        return {row.key: row for row in rows}

    def _read_metadata(self, condition: str | None) -> list[Metadata]:
        if not self.list_columns():
            return []
        rows = _scan(self._table(METADATA), ['$json'], condition)
        return [Metadata.from_json(row) for row in rows['$json'].to_pylist()]

    @_guard_reading
    def find_matching(self, where: Filter) -> dict[str, set[str]]:
        """See :class:`VideoStore`."""
        columns = ['$key', '$content']
        found = _scan(self._table(METADATA), columns, where.to_sql())
        keys: dict[str, set[str]] = {}
        for key, content in zip(
            found['$key'].to_pylist(),
            found['$content'].to_pylist(),
            strict=True,
        ):
            keys.setdefault(content, set()).add(key)
        return keys

    @_guard_reading
    def search_text(
        self, text: str, count: int, where: Filter | None = None
    ) -> list[tuple[str, str]]:
        """See :class:`VideoStore`."""
        if not self.list_columns():
            return []
        rows = self._table(METADATA).search(
            _valid(text), query_type='fts', fts_columns='$text'
        )
        if where is not None:
            rows = rows.where(where.to_sql(), prefilter=True)
        rows = rows.limit(count).select(['$key', '$content', '_score'])
        found = rows.to_arrow().sort_by(
            [('_score', 'descending'), ('$key', 'ascending')]
        )
        return list(
            zip(
                found['$key'].to_pylist(),
                found['$content'].to_pylist(),
                strict=True,
            )
        )

    @_guard_reading
    def find_candidates(
        self,
        queries: Sequence[QueryVectors],
        count: int,
        within: Set[str] | None = None,
    ) -> list[list[str]]:
        """See :class:`VideoStore`."""
        table = self._table('videos')
        if self._first is None or self._first.version != table.version:
            self._first = self._open_first_stage(table)
        if self._first is None:
            return super().find_candidates(queries, count, within)
        return [self._first.nearest(query, count, within) for query in queries]

    def _open_first_stage(self, table: Any) -> FirstStage | None:
        """None where neighbours must be merged."""
        info, size = self.read_info(), self._count_bytes()
        codes, version = None, 0
        if size > BYTES_WITHOUT_CODES:
            codes, version = self._read_codes()
        new = []
        if codes is not None and table.version != version:
            if are_codes_of(codes, table):
                known = set(codes.contents.astype(str).tolist())
                there = self._read_contents()
                new = [each for each in there if each not in known]
            else:
                codes = None
        if codes is not None:
            # What was added since then is compared without codes.
            conditions = ' OR '.join(_any_of('content', new)) or 'false'
            others = read_parts(table.search().where(conditions))
            return FirstStage(table, info, others, codes)
        if size > BYTES_IN_MEMORY:
            return None
        return FirstStage(table, info, read_parts(table.search()))

    def _count_bytes(self) -> int:
        """Size of the vectors of all parts in memory."""
        rows = self._table('videos').count_rows()
        return 4 * rows * self.read_info()['width']

    def _read_codes(self) -> tuple[PartCodes | None, int]:
        if CODES not in self._database.list_tables().tables:
            return None, 0
        self._tables.pop(CODES, None)
        return codes_from_rows(self._table(CODES).to_arrow())

    def _write_codes(self) -> None:
        table = self._table('videos')
        codes, version = self._read_codes()
        is_current = version == table.version
        if is_current and codes is not None and codes.fits(codes.codes.size):
            return
        mode = 'create' if codes is None else 'overwrite'
        rows = codes_to_rows(code_videos(table, codes), table.version)
        self._database.create_table(CODES, rows, mode=mode)
        self._tables.pop(CODES, None)
        self._table(CODES).optimize(cleanup_older_than=CLEANUP_AGE)

    @_guard_reading
    def read_videos(self, contents: Sequence[str]) -> StoredVideos:
        """See :class:`VideoStore`."""
        table, info = self._table('videos'), self.read_info()
        import pyarrow as pa

        columns = ['content', 'pooled', 'tokens', 'times']
        wanted, groups = set(contents), []
        if self._first is not None:
            # Where the first stage saw them, in a third of the time.
            rows = take(table, self._first.find_rows(contents), columns)
            rows = rows.select(columns)
            there = rows['content'].to_pylist()
            is_wanted = [each in wanted for each in there]
            groups = [rows.filter(pa.array(is_wanted, pa.bool_()))]
            wanted -= set(there)
        conditions = _any_of('content', sorted(wanted))
        for each in conditions or ([] if groups else ['false']):
            groups.append(_scan(table, columns, f'part = 0 AND {each}'))
        found = _from_rows(
            pa.concat_tables(groups), info['width'], info['precision']
        )
        rows = {content: row for row, content in enumerate(found.contents)}
        return found.select([rows[each] for each in contents if each in rows])

    @_guard_reading
    def count_videos(self) -> int:
        """See :class:`VideoStore`."""
        return self._table('videos').count_rows('part = 0')

    @_guard_reading
    def count_files(self) -> int:
        """See :class:`VideoStore`."""
        return self._table('files').count_rows("content != ''")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """See :class:`VideoStore`. Object stores have no lock."""
        if self._is_remote:
            yield
            return
        folder = Path(self.url)
        is_new = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(folder / LOCK, timeout=0):
                try:
                    yield
                finally:
                    names = {path.name for path in folder.iterdir()}
                    if is_new and names <= {LOCK, PROGRESS}:
                        # Nothing was indexed.
                        shutil.rmtree(folder)
        except Timeout as error:
            raise SetupError(
                f'another process is indexing into {self.url}; searching '
                'goes on meanwhile, indexing has to wait for it'
            ) from error

    def refresh(self) -> None:
        """See :class:`VideoStore`."""
        for table in self._tables.values():
            table.checkout_latest()

    @_guard
    def compact(self) -> None:
        """See :class:`VideoStore`."""
        if not self._is_remote:
            begin_change(Path(self.url))
        copies = [
            c for c, n in Counter(self._read_contents()).items() if n > 1
        ]
        for content in copies:
            videos = self.read_videos([content])
            self.remove_videos([content])
            self.add_videos(videos)
        names = ['files', 'videos']
        if self.list_columns():
            names.append(METADATA)
        for name in names:
            # Old versions go at once: they hold a copy of every feature.
            self._table(name).optimize(cleanup_older_than=CLEANUP_AGE)
            _add_indices(self._table(name))
        if self._count_bytes() > BYTES_WITHOUT_CODES:
            # Last: they are of the rows where these lie now.
            self._write_codes()
        self._record()

    @cached_property
    def _database(self) -> Any:
        lancedb = _import_lancedb()
        return lancedb.connect(self.url, read_consistency_interval=STALENESS)

    def _table(self, name: str) -> Any:
        self.check_open()
        return self._open_table(name)

    def _open_table(self, name: str) -> Any:
        if name not in self._tables:
            self._tables[name] = self._database.open_table(name)
        return self._tables[name]

    def _read_json(self, condition: str | None = None) -> list[str]:
        rows = _scan(self._table('files'), ['json'], condition)
        return rows['json'].to_pylist()

    def _read_contents(self) -> list[str]:
        rows = _scan(self._table('videos'), ['content'], 'part = 0')
        return rows['content'].to_pylist()


def _scan(
    table: Any, columns: Sequence[str], condition: str | None
) -> 'pa.Table':
    """Read the rows that meet a condition, or all.

    ``table.search()...to_arrow()`` asks for the schema twice more, which takes
    a sixth of the time of a few rows.
    """
    from lancedb.query import LanceEmptyQueryBuilder

    rows = LanceEmptyQueryBuilder(table).select(list(columns))
    if condition is not None:
        rows = rows.where(condition)
    return rows.to_batches().read_all()


def _import_lancedb() -> Any:
    purpose = ('search', 'an index in a folder')
    pydantic = import_extra('pydantic', *purpose)
    validate_call = pydantic.validate_call
    # It imports clients of a catalogue, which nothing here calls. Building
    # the validators of their arguments takes half of the whole import: with
    # this each is built when it is first needed.
    pydantic.validate_call = partial(
        validate_call, config=dict(defer_build=True)
    )
    try:
        return import_extra('lancedb', *purpose)
    finally:
        pydantic.validate_call = validate_call


def _check_folder(folder: Path) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise SetupError(
            f'{folder} is no index but a file. Give a folder that does not '
            'exist yet, or an index.'
        )
    others = {
        path.name
        for path in folder.iterdir()
        # Also one that a killed process was writing.
        if not path.name.startswith((CHECKSUMS, PROGRESS))
    } - KNOWN_NAMES
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


def _valid(value: Value) -> Value:
    """A value that Arrow takes: text may hold what is no valid Unicode."""
    if isinstance(value, str):
        return value.encode('utf-8', 'replace').decode()
    return float(value) if type(value) is int else value


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
    refining: int | None = REFINING,
) -> list[tuple[str, float]]:
    """Find contents by the vector index; by a scan if there is none.

    Args:
        table: Rows with ``content`` and ``vector``.
        query: Shape (D,), unit vector.
        count: How many contents.
        parts: Rows of a content.
        probes: Lists of the index that are looked into.
        refining: How many times the wanted rows are compared exactly; None
            for none, the cosines are those of the codes then.

    Returns:
        See :meth:`VideoStore.nearest`.
    """
    rows = _search(table, query.astype(np.float32), count * parts)
    rows = rows.nprobes(probes)
    if refining:
        rows = rows.refine_factor(refining)
    return _best_parts(rows.to_arrow(), count)


def find_neighbours_each(
    table: Any,
    queries: np.ndarray,
    count: int,
    parts: int,
    probes: int = PROBES,
    refining: int | None = REFINING,
) -> list[list[tuple[str, float]]]:
    """:func:`find_neighbours` of several queries in one pass.

    With ``refining`` None the cosines are those of the codes.
    """
    if len(queries) == 1:
        # LanceDB then leaves out the number of the query.
        return [
            find_neighbours(table, queries[0], count, parts, probes, refining)
        ]
    rows = _search(table, list(queries.astype(np.float32)), count * parts)
    rows = rows.nprobes(probes)
    if refining:
        rows = rows.refine_factor(refining)
    found = rows.to_arrow()
    of_query = found['query_index'].to_numpy()
    return [
        _best_parts(found.filter(of_query == number), count)
        for number in range(len(queries))
    ]


def scan_neighbours(
    table: Any, query: np.ndarray, count: int, parts: int
) -> list[tuple[str, float]]:
    """:func:`find_neighbours` by comparing all vectors: without error."""
    rows = _search(table, query.astype(np.float32), count * parts)
    rows = rows.bypass_vector_index()
    return _best_parts(rows.to_arrow(), count)


def _search(
    table: Any, query: np.ndarray | list[np.ndarray], limit: int
) -> Any:
    rows = table.search(query, 'vector')
    rows = rows.distance_type('dot').limit(limit)
    return rows.select(['content', '_distance'])


def _best_parts(rows: 'pa.Table', count: int) -> list[tuple[str, float]]:
    best: dict[str, float] = {}
    cosines = 1 - rows['_distance'].to_numpy()
    for content, cosine in zip(
        rows['content'].to_pylist(), cosines.tolist(), strict=True
    ):
        best[content] = max(cosine, best.get(content, -1.0))
    # Of equal ones always the same first: pages depend on it.
    return sorted(best.items(), key=lambda pair: (-pair[1], pair[0]))[:count]


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
        keys = {'key', 'content', '$key', '$content'}
        for column in keys & set(table.schema.names) - present:
            table.create_index(column, config=BTree())
    if 'vector' in table.schema.names and rows >= ROWS_FOR_VECTORS:
        _add_vector_index(table, rows)


def _add_vector_index(table: Any, rows: int) -> None:
    """Index vectors, and again where the table has grown far beyond that."""
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
