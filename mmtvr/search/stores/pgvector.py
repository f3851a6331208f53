"""An index in PostgreSQL, by its extension pgvector."""

import json
import re
import threading
import time
import warnings
from collections.abc import (
    Callable,
    Collection,
    Iterable,
    Iterator,
    Sequence,
    Set,
)
from contextlib import contextmanager
from copy import copy
from functools import cached_property
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

import numpy as np

from mmtvr.errors import SetupError, import_extra
from mmtvr.search.filters import BOOLEAN, NUMBER, TEXT, Filter
from mmtvr.search.stores.base import (
    CONTENT_DIGITS,
    DamagedIndexError,
    FileEntry,
    IndexUnavailableError,
    Metadata,
    StoredVideos,
    Value,
    check_columns,
    check_info,
    hide_secrets,
    is_ambiguous,
    pack_tokens,
    part_vectors,
    same_model,
    unpack_tokens,
)
from mmtvr.search.stores.coded_store import CodedStore

DEFAULT_NAME = 'mmtvr'
# The index is a schema, and PostgreSQL takes 63 bytes.
NAME = re.compile('[A-Za-z_][A-Za-z0-9_]{0,62}')
# Scans of an index that go on until there are enough rows came with 0.8.
OLDEST_VERSION = (0, 8)
TESTED_VERSIONS = ((0, 8),)
# Below this many vectors a scan is fast enough, and exact.
ROWS_FOR_VECTORS = 100_000
# What the graph's index takes; wider vectors are always scanned.
MAX_INDEXED_WIDTH = 4000
# Vectors that a search of the graph keeps: 100 candidates of 4 parts.
SEARCH_WIDTH = 400
# How long a server is waited for that is started again.
SECONDS_TO_RETURN = 60.0
SECONDS_BETWEEN_TRIES = 0.2
# A server notices a killed client when what it had asked for is done.
LOCK_SECONDS = 2
# Up to so many videos their vectors are compared one by one.
CONTENTS_PER_SEARCH = 10_000
TABLES = ('videos', 'parts', 'files', 'about')
METADATA = 'metadata'
CODES = 'codes'
# Also with the first codes: an index of an older mmtvr has no such table.
CREATE_CODES = (
    'CREATE TABLE IF NOT EXISTS {}.codes (name text PRIMARY KEY, data bytea)'
)
# Of columns, by what PostgreSQL calls them. Texts are in order of their bytes.
TYPES = {TEXT: 'text', NUMBER: 'double precision', BOOLEAN: 'boolean'}
TYPE_NAMES = {name: kind for kind, name in TYPES.items()}
MAX_NAME = 63
# What is searched of the texts of a video: PostgreSQL takes 1 MB of lexemes.
MAX_TEXT = 2**17
# Okapi BM25 with k1 = 1.2, b = 0.75, over the lexemes of each video.
BM25 = """
    WITH terms AS MATERIALIZED (
        SELECT lexeme, ('''' || replace(replace(
            lexeme, '\\', '\\\\'), '''', '''''') || '''')::tsquery AS term
        FROM unnest(to_tsvector('english', %s))
    ), stats AS MATERIALIZED (
        SELECT count(*) AS videos, greatest(avg("$size"), 1) AS mean
        FROM {}.metadata
    ), weights AS MATERIALIZED (
        SELECT lexeme, ln(1 + (videos - found + 0.5) / (found + 0.5)) AS idf
        FROM stats, terms, LATERAL (
            SELECT count(*) AS found FROM {}.metadata WHERE "$words" @@ term
        ) AS counted
    )
    SELECT "$key", "$content" FROM {}.metadata, stats, LATERAL (
        SELECT sum(idf * times * 2.2
            / (times + 1.2 * (0.25 + 0.75 * "$size" / mean))) AS score
        FROM unnest("$words") AS word (lexeme, positions), weights, LATERAL (
            SELECT cardinality(positions) AS times
        ) AS counted
        WHERE word.lexeme = weights.lexeme
    ) AS scored
    WHERE "$words" @@ (SELECT string_agg(term::text, '|')::tsquery FROM terms)
"""

Result = TypeVar('Result')


class PgvectorStore(CodedStore):
    """Tables of features, files and facts in a schema of PostgreSQL.

    Each change is a transaction, and safe to repeat: a server that is
    started again meanwhile is waited for.

    Columns of videos are columns of a table, with names of mmtvr's own that
    begin with ``$`` beside them.

    Args:
        url: ``postgresql://USER:PASSWORD@HOST:5432/DATABASE/NAME``, where
            NAME is the schema (default: ``mmtvr``). Options of libpq follow
            after ``?``, as ``sslmode=verify-full``; login and address may as
            well be in its environment variables and ``~/.pgpass``.

    Raises:
        SetupError: The address is none; where the index is read or made,
            that psycopg is not installed, nobody answers, or pgvector is
            absent or too old.
    """

    def __init__(self, url: str) -> None:
        self._address = parse_address(url)
        self._schema = self._address.name
        self.url = hide_secrets(url)
        self._opened: dict | None = None
        self._connections = threading.local()
        self._has_answered = False

    def read_info(self) -> dict | None:
        """See :class:`VideoStore`.

        Raises:
            IndexUnavailableError: Another index is in its place, or none.
        """
        if self._opened is None:
            # From now on, stay with the index that the address names now.
            self._schema = self._address.name
            for (name,) in self._read_if_there('SELECT name FROM {}.alias'):
                self._schema = name
        rows = self._read_if_there('SELECT json FROM {}.about')
        info = None
        if rows:
            try:
                info = check_info(json.loads(rows[0][0]), self.url)
            except ValueError as error:
                where = f'its facts: {error}'
                raise DamagedIndexError(self.url, where) from error
        before = self._opened
        if before and (info is None or not same_model(info, before)):
            raise IndexUnavailableError(
                f'the index {self.url} is no longer there, or was made again '
                'by another model, while it was open: start this program again'
            )
        self._opened = info
        return info

    def create(self, info: dict) -> None:
        """See :class:`VideoStore`."""
        is_there = self.read_info() is not None
        self._check_extension()
        tables = (*TABLES, METADATA, CODES)
        others = self._read(
            'SELECT tablename FROM pg_tables WHERE schemaname = %s '
            'AND tablename = ANY(%s)',
            self._schema,
            list(tables),
        )
        if others and not is_there:
            # All tables of an index are made at once.
            raise SetupError(
                f'the schema {self._schema} of {self.url} has a table '
                f'{self._schema}.{others[0][0]} of something else: give the '
                'index another NAME in its address, '
                'postgresql://HOST/DATABASE/NAME'
            )
        width = info['width']
        statements = [
            'CREATE SCHEMA IF NOT EXISTS {}',
            *(f'DROP TABLE IF EXISTS {{}}.{each} CASCADE' for each in tables),
            'CREATE TABLE {}.videos (content text PRIMARY KEY, '
            'pooled bytea, tokens bytea, times bytea)',
            # Features do not get smaller by compression.
            'ALTER TABLE {}.videos ALTER tokens SET STORAGE EXTERNAL',
            'CREATE TABLE {}.parts (content text REFERENCES {}.videos '
            f'ON DELETE CASCADE, part smallint, vector halfvec({width}), '
            'PRIMARY KEY (content, part))',
            'CREATE TABLE {}.files (key text PRIMARY KEY, content text, '
            'json text)',
            'CREATE INDEX ON {}.files (content)',
            'CREATE TABLE {}.about (json text)',
            CREATE_CODES,
        ]

        def make(cursor: Any) -> None:
            for statement in statements:
                cursor.execute(self._sql(statement))
            cursor.execute(
                self._sql('INSERT INTO {}.about VALUES (%s)'),
                [json.dumps(info)],
            )

        self._write(make)
        self._opened = self._known = None

    def write_info(self, info: dict) -> None:
        """See :class:`VideoStore`."""
        text = json.dumps(info)
        self._write(
            lambda cursor: cursor.execute(
                self._sql('UPDATE {}.about SET json = %s'), [text]
            )
        )

    def _check_extension(self) -> None:
        """Install pgvector into the database if need be.

        Raises:
            SetupError: It is absent, or too old.
        """
        self._write(
            lambda cursor: cursor.execute(
                'CREATE EXTENSION IF NOT EXISTS vector'
            )
        )
        ((version,),) = self._read(
            "SELECT extversion FROM pg_extension WHERE extname = 'vector'"
        )
        number = tuple(map(int, re.findall(r'\d+', version)[:2]))
        if number < OLDEST_VERSION:
            raise SetupError(
                f'the database of {self.url} has pgvector {version}, mmtvr '
                'takes 0.8 and later: install it, then run '
                '`ALTER EXTENSION vector UPDATE`'
            )
        if number not in TESTED_VERSIONS:
            warnings.warn(
                f'the database of {self.url} has pgvector {version}, which '
                'mmtvr was not tested with (0.8 was)',
                stacklevel=2,
            )

    def write_videos(self, videos: StoredVideos) -> None:
        """See :class:`CodedStore`."""
        info = self.read_info()
        rows, parts = [], []
        for content, pooled, tokens, times in zip(*videos, strict=True):
            rows.append(
                (
                    content,
                    pooled.astype('<f2').tobytes(),
                    pack_tokens(tokens, info['precision']),
                    np.asarray(times, '<f4').tobytes(),
                )
            )
            vectors = part_vectors(pooled, tokens, info['parts'])
            for number, vector in enumerate(vectors):
                parts.append((content, number, _to_text(vector)))

        def add(cursor: Any) -> None:
            for table, values in (('videos', rows), ('parts', parts)):
                marks = ', '.join(['%s'] * len(values[0])) if values else ''
                cursor.executemany(
                    self._sql(
                        f'INSERT INTO {{}}.{table} VALUES ({marks}) '
                        'ON CONFLICT DO NOTHING'
                    ),
                    values,
                )

        self._write(add)

    def put_files(self, entries: Sequence[FileEntry]) -> None:
        """See :class:`VideoStore`."""
        rows = [(e.key, e.content, e.to_json()) for e in entries]
        query = self._sql(
            'INSERT INTO {}.files VALUES (%s, %s, %s) ON CONFLICT (key) '
            'DO UPDATE SET content = excluded.content, json = excluded.json'
        )
        self._write(lambda cursor: cursor.executemany(query, rows))

    def remove_files(self, keys: Sequence[str]) -> None:
        """See :class:`VideoStore`."""
        self._remove('DELETE FROM {}.files WHERE key = ANY(%s)', keys)

    def remove_videos(self, contents: Sequence[str]) -> None:
        """See :class:`VideoStore`."""
        self._remove('DELETE FROM {}.videos WHERE content = ANY(%s)', contents)

    def _remove(self, query: str, values: Sequence[str]) -> None:
        composed = self._sql(query)
        self._write(lambda cursor: cursor.execute(composed, [list(values)]))

    def put_blob(self, name: str, data: bytes) -> None:
        """See :class:`CodedStore`."""

        def put(cursor: Any) -> None:
            cursor.execute(self._sql(CREATE_CODES))
            cursor.execute(
                self._sql(
                    'INSERT INTO {}.codes VALUES (%s, %s) '
                    'ON CONFLICT DO NOTHING'
                ),
                [name, data],
            )

        self._write(put)

    def list_blobs(self) -> set[str]:
        """See :class:`CodedStore`.

        Warns:
            UserWarning: This user may not read them.
        """
        try:
            rows = self._read_if_there('SELECT name FROM {}.codes')
        except SetupError as error:
            denied = self._psycopg.errors.InsufficientPrivilege
            if not isinstance(error.__cause__, denied):
                raise
            # Its rights may be from before there was the table.
            warnings.warn(
                f'{self.url}: this user may not read the codes of videos, '
                'without which a search finds less and takes longer: GRANT '
                f'SELECT ON {self._schema}.{CODES} to it',
                stacklevel=2,
            )
            return set()
        return {name for (name,) in rows}

    def read_blobs(self, names: Collection[str]) -> dict[str, bytes]:
        """See :class:`CodedStore`."""
        query = 'SELECT name, data FROM {}.codes WHERE name = ANY(%s)'
        return dict(self._read(query, list(names)))

    def remove_blobs(self, names: Collection[str]) -> None:
        """See :class:`CodedStore`."""
        if names:
            self._remove(
                'DELETE FROM {}.codes WHERE name = ANY(%s)', list(names)
            )

    def list_files(self) -> list[FileEntry]:
        """See :class:`VideoStore`."""
        return self._read_entries('SELECT json FROM {}.files')

    def list_contents(self) -> set[str]:
        """See :class:`VideoStore`."""
        rows = self._read('SELECT content FROM {}.videos')
        return {content for (content,) in rows}

    def find_files(self, contents: Sequence[str]) -> list[FileEntry]:
        """See :class:`VideoStore`."""
        query = 'SELECT json FROM {}.files WHERE content = ANY(%s)'
        return self._read_entries(query, list(contents))

    def find_entry(self, key: str) -> FileEntry | None:
        """See :class:`VideoStore`."""
        query = 'SELECT json FROM {}.files WHERE key = %s'
        return next(iter(self._read_entries(query, key)), None)

    def _read_entries(self, query: str, *values: Any) -> list[FileEntry]:
        rows = self._read(query, *values)
        return [FileEntry.from_json(text) for (text,) in rows]

    def nearest(
        self, query: np.ndarray, count: int
    ) -> list[tuple[str, float]]:
        """See :class:`VideoStore`."""
        vector = _to_text(query)
        rows = self._read(
            'SELECT content, -(vector <#> %s::halfvec) FROM {}.parts '
            'ORDER BY vector <#> %s::halfvec LIMIT %s',
            vector,
            vector,
            count * self.read_info()['parts'],
        )
        best: dict[str, float] = {}
        for content, cosine in rows:
            best.setdefault(content, cosine)
        return list(best.items())[:count]

    def nearest_within(
        self, queries: np.ndarray, count: int, contents: Set[str]
    ) -> list[list[tuple[str, float]]]:
        """See :class:`VideoStore`. Of few videos all vectors are compared."""
        if len(contents) > CONTENTS_PER_SEARCH:
            return super().nearest_within(queries, count, contents)
        vectors = [_to_text(query) for query in queries]
        rows = self._read(
            # Its index of vectors may give up before it has found them.
            'WITH vectors AS MATERIALIZED ('
            'SELECT content, vector FROM {}.parts '
            f'WHERE left(content, {CONTENT_DIGITS}) = ANY(%s)), '
            'best AS (SELECT number, content, '
            'max(-(vector <#> query::halfvec)) AS cosine FROM vectors, '
            'unnest(%s::text[]) WITH ORDINALITY AS queries (query, number) '
            'GROUP BY number, content), '
            'ranked AS (SELECT *, row_number() OVER (PARTITION BY number '
            'ORDER BY cosine DESC, content) AS rank FROM best) '
            'SELECT number, content, cosine FROM ranked WHERE rank <= %s '
            'ORDER BY number, rank',
            list(contents),
            vectors,
            count,
        )
        found: list[list[tuple[str, float]]] = [[] for _ in queries]
        for number, content, cosine in rows:
            found[number - 1].append((content, cosine))
        return found

    def list_columns(self) -> dict[str, str]:
        """See :class:`VideoStore`."""
        rows = self._read(
            'SELECT attname, format_type(atttypid, NULL) FROM pg_attribute '
            'WHERE attrelid = to_regclass(%s) AND attnum > 0 '
            "AND NOT attisdropped AND attname NOT LIKE '$%%' ORDER BY attnum",
            f'"{self._schema}".{METADATA}',
        )
        return {name: TYPE_NAMES[kind] for name, kind in rows}

    def add_columns(self, columns: dict[str, str]) -> None:
        """See :class:`VideoStore`."""
        new = check_columns(self.list_columns(), columns, self.url)
        for name in new:
            if len(name) > MAX_NAME:
                raise SetupError(
                    f'the column {name} has a name of {len(name)} letters, '
                    f'PostgreSQL takes {MAX_NAME}: give it a shorter one'
                )
        # Names of columns are letters, digits and underscores.
        added = [
            f'ALTER TABLE {{}}.metadata ADD "{name}" {TYPES[kind]}'
            + (' COLLATE "C"' if kind == TEXT else '')
            for name, kind in new.items()
        ]
        statements = [
            'CREATE TABLE IF NOT EXISTS {}.metadata ("$key" text PRIMARY KEY, '
            '"$content" text, "$json" text, "$words" tsvector, "$size" int)',
            'CREATE INDEX IF NOT EXISTS metadata_words ON {}.metadata '
            'USING gin ("$words")',
            *added,
        ]

        def add(cursor: Any) -> None:
            for statement in statements:
                cursor.execute(self._sql(statement))

        if new:
            self._write(add)

    def put_metadata(self, rows: Sequence[Metadata]) -> None:
        """See :class:`VideoStore`."""
        names = list(self.list_columns())
        columns = ['$key', '$content', '$json', *names]
        listed = [f'"{name}"' for name in (*columns, '$words', '$size')]
        changes = ', '.join(f'{name} = excluded.{name}' for name in listed)
        query = self._sql(
            f'INSERT INTO {{}}.metadata ({", ".join(listed)}) '
            f'VALUES ({"%s, " * len(columns)} '
            "to_tsvector('english', %s), (SELECT count(*) FROM "
            "unnest(to_tsvector('english', %s)) AS word (lexeme, positions), "
            'unnest(positions))) '
            f'ON CONFLICT ("$key") DO UPDATE SET {changes}'
        )
        values = [
            [
                *(row.key, row.content, row.to_json()),
                *(_valid(row.columns.get(name)) for name in names),
                *[_valid(row.searched_text[:MAX_TEXT])] * 2,
            ]
            for row in rows
        ]
        self._write(lambda cursor: cursor.executemany(query, values))

    def remove_metadata(self, keys: Sequence[str]) -> None:
        """See :class:`VideoStore`."""
        if self.list_columns():
            self._remove(
                'DELETE FROM {}.metadata WHERE "$key" = ANY(%s)', keys
            )

    def list_metadata(self) -> Iterable[Metadata]:
        """See :class:`VideoStore`."""
        rows = self._read_if_there('SELECT "$json" FROM {}.metadata')
        return [Metadata.from_json(text) for (text,) in rows]

    def find_metadata(self, keys: Sequence[str]) -> dict[str, Metadata]:
        """See :class:`VideoStore`."""
        if not self.list_columns():
            return {}
        rows = self._read(
            'SELECT "$json" FROM {}.metadata WHERE "$key" = ANY(%s)',
            list(keys),
        )
        found = [Metadata.from_json(text) for (text,) in rows]
        return {row.key: row for row in found}

    def find_matching(self, where: Filter) -> dict[str, set[str]]:
        """See :class:`VideoStore`."""
        keys: dict[str, set[str]] = {}
        query = self._sql('SELECT "$content", "$key" FROM {}.metadata WHERE ')
        for content, key in self._read(query + self._condition(where)):
            keys.setdefault(content, set()).add(key)
        return keys

    def search_text(
        self, text: str, count: int, where: Filter | None = None
    ) -> list[tuple[str, str]]:
        """See :class:`VideoStore`."""
        if not self.list_columns():
            return []
        query = self._sql(BM25)
        if where is not None:
            query += self._sql(' AND ') + self._condition(where)
        query += self._sql(' ORDER BY score DESC, "$key" LIMIT %s')
        return self._read(query, _valid(text), count)

    def _condition(self, where: Filter) -> Any:
        # Signs of percent are those of places for values.
        condition = where.to_postgres().replace('%', '%%')
        return self._psycopg.sql.SQL(f'({condition})')

    def read_videos(self, contents: Sequence[str]) -> StoredVideos:
        """See :class:`VideoStore`."""
        info = self.read_info()
        rows = self._read(
            'SELECT content, pooled, tokens, times FROM {}.videos '
            'WHERE content = ANY(%s)',
            list(contents),
        )
        found = {content: features for content, *features in rows}
        there = [content for content in contents if content in found]
        width, precision = info['width'], info['precision']
        pooled = b''.join(found[each][0] for each in there)
        return StoredVideos(
            there,
            np.frombuffer(pooled, '<f2').reshape(-1, width).astype('f4'),
            [
                unpack_tokens(found[each][1], width, precision)
                for each in there
            ],
            [np.frombuffer(found[each][2], '<f4') for each in there],
        )

    def count_videos(self) -> int:
        """See :class:`VideoStore`."""
        return self._read('SELECT count(*) FROM {}.videos')[0][0]

    def count_files(self) -> int:
        """See :class:`VideoStore`."""
        query = "SELECT count(*) FROM {}.files WHERE content <> ''"
        return self._read(query)[0][0]

    @contextmanager
    def lock(self) -> Iterator[None]:
        """See :class:`VideoStore`. The server forgets that of a dead one."""
        with self._as_setup_error(), self._open() as connection:
            connection.execute(f"SET lock_timeout = '{LOCK_SECONDS}s'")
            try:
                connection.execute(
                    'SELECT pg_advisory_lock(hashtextextended(%s, 0))',
                    [f'mmtvr:{self._schema}'],
                )
            except self._psycopg.errors.LockNotAvailable as error:
                raise SetupError(
                    f'another process is indexing into {self.url}; searching '
                    'goes on meanwhile, indexing has to wait for it'
                ) from error
            yield

    def refresh(self) -> None:
        """See :class:`VideoStore`. Every query asks the engine."""

    def compact(self) -> None:
        """See :class:`VideoStore`. Rows are cleaned up by the engine."""
        super().compact()
        rows = self._read('SELECT count(*) FROM {}.parts')[0][0]
        is_narrow = self.read_info()['width'] <= MAX_INDEXED_WIDTH
        statements = [
            # Of the videos that a filter lets through, and their windows.
            'CREATE INDEX IF NOT EXISTS parts_video ON {}.parts '
            f'(left(content, {CONTENT_DIGITS}))',
            *(f'ANALYZE {{}}.{table}' for table in TABLES),
        ]
        if self.list_columns():
            statements.append('ANALYZE {}.metadata')
        if rows >= ROWS_FOR_VECTORS and is_narrow:
            statements.insert(
                0,
                'CREATE INDEX IF NOT EXISTS parts_vector ON {}.parts '
                'USING hnsw (vector halfvec_ip_ops)',
            )
        for statement in statements:
            query = self._sql(statement)
            self._write(lambda cursor, query=query: cursor.execute(query))

    def switch_to(self, name: str) -> None:
        """See :class:`VideoStore`. A schema has a table of the other name."""
        other = copy(self)
        other._address = self._address._replace(name=name)
        other.url = self.url.rpartition('/')[0] + f'/{name}'
        other._opened = None
        other.require_info()
        self._schema = self._address.name
        if self._read_if_there('SELECT json FROM {}.about'):
            self.refuse_switch(name)

        def switch(cursor: Any) -> None:
            for statement in (
                'CREATE SCHEMA IF NOT EXISTS {}',
                'CREATE TABLE IF NOT EXISTS {}.alias (name text)',
                'DELETE FROM {}.alias',
            ):
                cursor.execute(self._sql(statement))
            query = self._sql('INSERT INTO {}.alias VALUES (%s)')
            cursor.execute(query, [other._schema])

        self._write(switch)

    @cached_property
    def _psycopg(self) -> Any:
        return import_extra('psycopg', 'pgvector', 'an index in PostgreSQL')

    def _sql(self, query: str) -> Any:
        """Put the schema where braces are."""
        name = self._psycopg.sql.Identifier(self._schema)
        count = query.count('{}')
        return self._psycopg.sql.SQL(query).format(*[name] * count)

    def _read(self, query: Any, *values: Any) -> list[tuple]:
        composed = self._sql(query) if isinstance(query, str) else query
        return self._call(
            lambda connection: connection.execute(composed, values).fetchall()
        )

    def _read_if_there(self, query: str) -> list[tuple]:
        """Read a table, or nothing where there is none."""
        errors = self._psycopg.errors
        missing = errors.UndefinedTable, errors.UndefinedColumn
        try:
            return self._read(query)
        except SetupError as error:
            if isinstance(error.__cause__, missing):
                return []
            raise

    def _write(self, change: Callable[[Any], Any]) -> None:
        """Make a change as one transaction; it must be safe to repeat."""

        def run(connection: Any) -> None:
            with connection.transaction(), connection.cursor() as cursor:
                change(cursor)

        self._call(run)

    def _call(self, function: Callable[[Any], Result]) -> Result:
        """Call with the connection of this thread.

        A server that has answered before and is gone may be starting again.
        """
        held = self._connections
        end = time.monotonic() + SECONDS_TO_RETURN
        with self._as_setup_error():
            while True:
                connection = getattr(held, 'connection', None)
                try:
                    if connection is None:
                        held.connection = connection = self._open()
                        self._has_answered = True
                    return function(connection)
                except self._psycopg.OperationalError:
                    is_lost = connection is None or connection.closed
                    is_late = time.monotonic() > end
                    if not (is_lost and self._has_answered) or is_late:
                        raise
                    held.connection = None
                    if connection is None:
                        time.sleep(SECONDS_BETWEEN_TRIES)

    def _open(self) -> Any:
        connection = self._psycopg.connect(
            self._address.server, autocommit=True, application_name='mmtvr'
        )
        for name, value in (
            ('ef_search', SEARCH_WIDTH),
            ('iterative_scan', 'strict_order'),
        ):
            connection.execute(
                'SELECT set_config(%s, %s, false)',
                (f'hnsw.{name}', str(value)),
            )
        return connection

    @contextmanager
    def _as_setup_error(self) -> Iterator[None]:
        try:
            yield
        except self._psycopg.Error as error:
            reason = str(error).strip()
            raise SetupError(f'PostgreSQL, {self.url}: {reason}') from error


class PostgresAddress(NamedTuple):
    """The address of an index, taken apart.

    Attributes:
        server: Of the database, for libpq, with secrets.
        name: Of the index, the schema.
    """

    server: str
    name: str


def parse_address(url: str) -> PostgresAddress:
    """Take the address of an index apart; see :class:`PgvectorStore`.

    Raises:
        SetupError: There is no database in it, the name is none of a schema,
            or it is not clear what is the login.
    """
    if is_ambiguous(url):
        raise SetupError(
            f'the address {hide_secrets(url)} can be read in several ways: '
            'percent-encode its user and password (@ is %40, / is %2F, ? is '
            '%3F, # is %23), or put them into PGUSER and PGPASSWORD'
        )
    parts = urlsplit(url)
    database, _, name = parts.path.strip('/').partition('/')
    name = name or DEFAULT_NAME
    if not database or not NAME.fullmatch(name):
        raise SetupError(
            f'the index {hide_secrets(url)} is no schema of a database: '
            'expected postgresql://HOST:5432/DATABASE/NAME, with letters, '
            'digits and underscores in NAME, no digit first'
        )
    query = f'?{parts.query}' if parts.query else ''
    return PostgresAddress(
        f'postgresql://{parts.netloc}/{database}{query}', name
    )


def _valid(value: Value) -> Value:
    """Text that PostgreSQL takes; other values as they are."""
    if not isinstance(value, str):
        return value
    return value.encode('utf-8', 'replace').decode().replace('\0', ' ')


def _to_text(vector: np.ndarray) -> str:
    return str(vector.astype(np.float16).tolist())
