"""An index in Milvus: a cluster at an address, or Milvus Lite in a file."""

import base64
import json
import logging
import math
import os
import re
import time
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import (
    AbstractContextManager,
    contextmanager,
    nullcontext,
    suppress,
)
from copy import copy
from dataclasses import replace
from functools import cached_property
from typing import Any, NamedTuple, TypeVar
from urllib.parse import unquote, urlsplit, urlunsplit

import numpy as np

from mmtvr.errors import SetupError, import_extra
from mmtvr.search.filters import Filter
from mmtvr.search.stores.base import (
    LITE,
    DamagedIndexError,
    FileEntry,
    IndexUnavailableError,
    Metadata,
    StoredVideos,
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
# Collections are named after it, and Milvus takes 255 characters.
NAME = re.compile('[A-Za-z_][A-Za-z0-9_]{0,239}')
TOKEN = 'MILVUS_TOKEN'
LITE_ENDING = '.db'
LITE_VERSION = 'milvus_lite'
# pymilvus pings every ten seconds, which Milvus Lite answers by hanging up,
# and gRPC by writing so to stderr. In one process nobody needs it.
LITE_CHANNEL = {'grpc.keepalive_time_ms': 2**31 - 1}
OPTIONS = dict(token='token', db='db_name')

#: Collections of an index, ``NAME_videos`` and so on.
KINDS = ('videos', 'files', 'about')
WITH_CONTENT = ('videos', 'files')
# Made when columns are first added; older indexes do not have it.
METADATA = 'metadata'
# Made when the first codes are.
CODES = 'codes'
KEY_LENGTH = 64
# Every collection of Milvus has a vector, needed or not, of 2 at least.
BLANK_WIDTH = 2
# What a string field of Milvus holds at most.
MAX_STRING = 65535
# Characters of a piece of a blob; its number of pieces stands before them.
PIECE = 65_000
# A row has 64 kB at most, a message 64 MB as servers are configured.
ROWS_PER_CALL = 200
# Where only the names of rows are read.
NAMES_PER_CALL = 10_000
CONTENTS_PER_FILTER = 100
# Row of the metadata that says which columns there are.
COLUMNS_KEY = '$columns'
# Stems of words, which Milvus Lite does not have; the words; before 2.5 none.
ANALYZERS = (
    dict(type='english'),
    dict(tokenizer='standard', filter=['lowercase']),
    None,
)
ANY_FILE = f'key != "{COLUMNS_KEY}"'
# What a search of a server returns at most.
MAX_HITS = 16_384
FIRST_PART = 'part == 0'
# Servers that the tests run on, and the first that can do all it takes.
TESTED_VERSIONS = ((2, 3),)
OLDEST_VERSION = (2, 3)
# The first whose strings have an inverted index; before, they have a trie.
VERSION_OF_INVERTED = (2, 4)
# What is looked up sees all that this process wrote; that of others after a
# moment. To wait for it, 'Strong', takes a server a fifth of a second.
LOOKUP = 'Session'
# How long a server is waited for that is started again: that takes minutes on
# a machine that has much to do.
SECONDS_TO_RETURN = 120.0
SECONDS_BETWEEN_TRIES = 0.5
# Status.CONNECT_FAILED of pymilvus.client.types.
CONNECT_FAILED = 2
# ErrCollectionNotLoaded of the server.
NOT_LOADED = 101
# Any other error of the server, such as that its parts, which start one after
# the other, do not reach each other yet.
UNEXPECTED = 65535
UNREACHED = re.compile('rpc error: code = (Unavailable|DeadlineExceeded)')
# How long facts are taken for those of the index that is there.
FACTS_SECONDS = 1.0

Result = TypeVar('Result')


class MilvusStore(CodedStore):
    """Collections of features, files and facts, in Milvus.

    Rows are keyed, so what is written twice is there once. A cluster shards,
    replicates and indexes the collections as it is configured to.

    Args:
        url: ``http://HOST:19530/NAME`` or ``https://``; NAME begins the
            names of the collections. ``USER:PASSWORD@`` before the host or
            ``?token=TOKEN`` log in, or the environment variable
            ``MILVUS_TOKEN`` does; ``?db=NAME`` chooses a database. What of
            these has a meaning in addresses is percent-encoded.
            ``milvus:FILE.db`` runs Milvus Lite in this process.

    Raises:
        SetupError: The address is none; where the index is read or made,
            that pymilvus is not installed or nobody answers.
    """

    def __init__(self, url: str) -> None:
        self._columns: dict[str, str] | None = None
        self._address = parse_address(url)
        self._name = self._address.name
        self.url = hide_secrets(url)
        self._info: dict | None = None
        self._read_at = math.inf
        self._codes_loaded = False

    def read_info(self) -> dict | None:
        """See :class:`VideoStore`.

        Raises:
            IndexUnavailableError: Another index is in its place, or none.
        """
        before = self._info
        if before is None:
            self._follow_alias()
        if before is None and self._is_made():
            # Somebody may have released them from memory meanwhile.
            self._load()
            self._info = self._read_facts('Strong')
        elif before and time.monotonic() - self._read_at > FACTS_SECONDS:
            found = None
            if self._is_made():
                # A server that was started again reads its log meanwhile.
                found = self._read_facts(LOOKUP) or self._read_facts('Strong')
            if found is None or not same_model(found, before):
                raise IndexUnavailableError(
                    f'the index {self.url} is no longer there, or was made '
                    'again by another model, while it was open: start this '
                    'program again'
                )
            self._info = found
        return self._info

    def _load(self) -> None:
        """Load all collections at once, which takes a server seconds."""
        for options in (dict(_async=True), {}):
            for kind in KINDS:
                name = self._collection(kind)
                self._client.load_collection(name, **options)

    def _read_facts(self, consistency: str) -> dict | None:
        rows = self._get('about', ['about'], consistency)
        if not rows:
            return None
        try:
            found = check_info(json.loads(rows[0]['json']), self.url)
        except ValueError as error:
            raise DamagedIndexError(self.url, f'its facts: {error}') from error
        self._read_at = time.monotonic()
        return found

    def create(self, info: dict) -> None:
        """See :class:`VideoStore`."""
        text = json.dumps(info)
        if len(text) > MAX_STRING:
            raise SetupError(
                f'the config takes {len(text)} bytes, Milvus takes '
                f'{MAX_STRING}'
            )
        if self.read_info() is not None:
            # It is empty, of another model.
            for kind in KINDS:
                self._client.drop_collection(self._collection(kind))
            self._info = None
        for kind in KINDS:
            width = info['width'] if kind == 'videos' else BLANK_WIDTH
            make_collection(self._client, self._name, kind, width)
        self._columns = self._known = None
        for kind in (METADATA, CODES):
            if self._client.has_collection(self._collection(kind)):
                self._client.drop_collection(self._collection(kind))
        self._load()
        # Last: an index whose facts are there is whole.
        self._put('about', [dict(key='about', json=text)])

    def write_info(self, info: dict) -> None:
        """See :class:`VideoStore`."""
        self._put('about', [dict(key='about', json=json.dumps(info))])
        self._info = self._read_facts(LOOKUP)

    def write_videos(self, videos: StoredVideos) -> None:
        """See :class:`CodedStore`."""
        info = self.read_info()
        rows = []
        for content, pooled, tokens, times in zip(*videos, strict=True):
            features = _encode(pooled, tokens, times, info['precision'])
            vectors = part_vectors(pooled, tokens, info['parts'])
            for number, vector in enumerate(vectors):
                rows.append(
                    dict(
                        key=f'{content}-{number}',
                        content=content,
                        part=number,
                        vector=vector.tolist(),
                        json='' if number else features,
                    )
                )
        # From the last part to the first: with that, a video is whole.
        self._put('videos', rows[::-1])

    def put_files(self, entries: Sequence[FileEntry]) -> None:
        """See :class:`VideoStore`."""
        rows = [
            dict(key=e.key, content=e.content, json=e.to_json())
            for e in entries
        ]
        self._put('files', rows)

    def remove_files(self, keys: Sequence[str]) -> None:
        """See :class:`VideoStore`."""
        for group in _groups(keys):
            self._client.delete(self._collection('files'), ids=group)

    def remove_videos(self, contents: Sequence[str]) -> None:
        """See :class:`VideoStore`."""
        for group in _groups(contents):
            self._client.delete(
                self._collection('videos'), filter=_any_of(group)
            )

    def put_blob(self, name: str, data: bytes) -> None:
        """See :class:`CodedStore`. As text, in pieces."""
        if not self._has_codes():
            make_collection(self._client, self._name, CODES)
        text = base64.b64encode(data).decode()
        pieces = [
            text[start : start + PIECE] for start in range(0, len(text), PIECE)
        ]
        rows = [
            dict(
                key=f'{name}/{part}', part=part, json=f'{len(pieces)} {piece}'
            )
            for part, piece in enumerate(pieces)
        ]
        # From the last to the first: with that, a blob is whole.
        self._put(CODES, rows[::-1])

    def list_blobs(self) -> set[str]:
        """See :class:`CodedStore`."""
        if not self._has_codes():
            return set()
        rows = self._client.query(
            self._collection(CODES),
            filter=FIRST_PART,
            output_fields=['key'],
            consistency_level=LOOKUP,
        )
        return {row['key'].removesuffix('/0') for row in rows}

    def read_blobs(self, names: Collection[str]) -> dict[str, bytes]:
        """See :class:`CodedStore`."""
        found = self._read_pieces([f'{name}/0' for name in names])
        counts = {
            name: int(found[f'{name}/0'].partition(' ')[0])
            for name in names
            if f'{name}/0' in found
        }
        keys = {
            name: [f'{name}/{part}' for part in range(count)]
            for name, count in counts.items()
        }
        found |= self._read_pieces(
            [k for each in keys.values() for k in each[1:]]
        )
        return {
            name: base64.b64decode(
                ''.join(found[key].partition(' ')[2] for key in each)
            )
            for name, each in keys.items()
            if found.keys() >= set(each)
        }

    def _read_pieces(self, keys: Sequence[str]) -> dict[str, str]:
        rows = [
            row
            for group in _groups(keys)
            for row in self._client.get(
                self._collection(CODES),
                group,
                output_fields=['key', 'json'],
                consistency_level=LOOKUP,
            )
        ]
        return {row['key']: row['json'] for row in rows}

    def remove_blobs(self, names: Collection[str]) -> None:
        """See :class:`CodedStore`."""
        found = self._read_pieces([f'{name}/0' for name in names])
        for key, text in found.items():
            count = int(text.partition(' ')[0])
            name = key.removesuffix('/0')
            keys = [f'{name}/{part}' for part in range(count)]
            self._client.delete(self._collection(CODES), ids=keys)

    def _has_codes(self) -> bool:
        """Whether there is the collection of blobs, loaded then."""
        name = self._collection(CODES)
        if not self._has(name):
            self._codes_loaded = False
        elif not self._codes_loaded and self._is_indexed(name):
            self._client.load_collection(name)
            self._codes_loaded = True
        return self._codes_loaded

    def list_files(self) -> Iterable[FileEntry]:
        """See :class:`VideoStore`."""
        for row in self._query('files', FIRST_PART, 'json'):
            yield FileEntry.from_json(row['json'])

    def list_contents(self) -> set[str]:
        """See :class:`VideoStore`."""
        rows = self._query(
            'videos', FIRST_PART, 'content', page=NAMES_PER_CALL
        )
        return {row['content'] for row in rows}

    def find_files(self, contents: Sequence[str]) -> list[FileEntry]:
        """See :class:`VideoStore`."""
        return [
            FileEntry.from_json(row['json'])
            for group in _groups(contents)
            for row in self._client.query(
                self._collection('files'),
                filter=_any_of(group),
                output_fields=['json'],
                consistency_level=LOOKUP,
            )
        ]

    def find_entry(self, key: str) -> FileEntry | None:
        """See :class:`VideoStore`."""
        rows = self._get('files', [key])
        return FileEntry.from_json(rows[0]['json']) if rows else None

    def nearest(
        self, query: np.ndarray, count: int
    ) -> list[tuple[str, float]]:
        """See :class:`VideoStore`."""
        (found,) = self.nearest_each(query[None], count)
        return found

    def nearest_each(
        self, queries: np.ndarray, count: int
    ) -> list[list[tuple[str, float]]]:
        """See :class:`VideoStore`."""
        found = self._client.search(
            self._collection('videos'),
            queries.tolist(),
            anns_field='vector',
            limit=min(count * self.read_info()['parts'], MAX_HITS),
            output_fields=['content'],
            consistency_level=LOOKUP,
        )
        nearest = []
        for hits in found:
            best: dict[str, float] = {}
            for hit in hits:
                content = hit['entity']['content']
                best[content] = max(hit['distance'], best.get(content, -1.0))
            ranked = sorted(best.items(), key=lambda p: (-p[1], p[0]))
            nearest.append(ranked[:count])
        return nearest

    def list_columns(self) -> dict[str, str]:
        """See :class:`VideoStore`. They are asked for once."""
        if self._columns is None:
            name = self._collection(METADATA)
            self._columns = {}
            if self._client.has_collection(name):
                self._client.load_collection(name)
                rows = self._get(METADATA, [COLUMNS_KEY])
                if rows:
                    self._columns = json.loads(rows[0]['json'])
        return dict(self._columns)

    def add_columns(self, columns: dict[str, str]) -> None:
        """See :class:`VideoStore`."""
        there = self.list_columns()
        new = check_columns(there, columns, self.url)
        if not there:
            make_metadata(self._client, self._collection(METADATA))
        if new:
            text = json.dumps({**there, **new})
            row = dict(key=COLUMNS_KEY, content='', json=text)
            self._put(METADATA, [{**row, 'fields': {}, 'text': ''}])
            self._columns = {**there, **new}

    def put_metadata(self, rows: Sequence[Metadata]) -> None:
        """See :class:`VideoStore`."""
        self._put(
            METADATA,
            [
                dict(
                    key=row.key,
                    content=row.content,
                    json=_limit_json(row),
                    text=_cut(row.searched_text),
                    fields=_plain_fields(row),
                )
                for row in rows
            ],
        )

    def remove_metadata(self, keys: Sequence[str]) -> None:
        """See :class:`VideoStore`."""
        if self.list_columns():
            for group in _groups(keys):
                self._client.delete(self._collection(METADATA), ids=group)

    def list_metadata(self) -> Iterable[Metadata]:
        """See :class:`VideoStore`."""
        if self.list_columns():
            for row in self._query(METADATA, ANY_FILE, 'json'):
                yield Metadata.from_json(row['json'])

    def find_metadata(self, keys: Sequence[str]) -> dict[str, Metadata]:
        """See :class:`VideoStore`."""
        if not self.list_columns():
            return {}
        rows = [
            row
            for group in _groups(keys)
            for row in self._get(METADATA, group)
        ]
        found = [Metadata.from_json(row['json']) for row in rows]
        return {row.key: row for row in found}

    def find_matching(self, where: Filter) -> dict[str, set[str]]:
        """See :class:`VideoStore`."""
        keys: dict[str, set[str]] = {}
        condition = f'{ANY_FILE} and ({where.to_milvus()})'
        for row in self._query(METADATA, condition, 'key', 'content'):
            keys.setdefault(row['content'], set()).add(row['key'])
        return keys

    def search_text(
        self, text: str, count: int, where: Filter | None = None
    ) -> list[tuple[str, str]]:
        """See :class:`VideoStore`.

        Raises:
            SetupError: This Milvus has no full-text search.
        """
        if not self.list_columns():
            return []
        name = self._collection(METADATA)
        fields = self._client.describe_collection(name)['fields']
        if all(field['name'] != 'words' for field in fields):
            raise SetupError(
                f'{self.url} is a Milvus without full-text search, which '
                'came with 2.5: search the pictures alone (--match video), '
                'or index into a newer server'
            )
        condition = ANY_FILE
        if where is not None:
            condition += f' and ({where.to_milvus()})'
        (hits,) = self._client.search(
            name,
            [text],
            anns_field='words',
            limit=min(count, MAX_HITS),
            filter=condition,
            output_fields=['key', 'content'],
            consistency_level='Bounded',
        )
        found = sorted(
            (-hit['distance'], hit['entity']['key'], hit['entity']['content'])
            for hit in hits
        )
        return [(key, content) for _, key, content in found]

    def read_videos(self, contents: Sequence[str]) -> StoredVideos:
        """See :class:`VideoStore`."""
        info = self.read_info()
        found = {}
        for group in _groups(list(dict.fromkeys(contents))):
            rows = self._get('videos', [f'{each}-0' for each in group])
            for row in rows:
                try:
                    found[row['content']] = _decode(row['json'], info)
                except (ValueError, KeyError) as error:
                    where = f'the features of {row["content"]}: {error}'
                    raise DamagedIndexError(self.url, where) from error
        there = [content for content in contents if content in found]
        features = [found[content] for content in there]
        empty = np.zeros((0, info['width']), np.float32)
        pooled = np.stack([f[0] for f in features]) if features else empty
        return StoredVideos(
            there, pooled, [f[1] for f in features], [f[2] for f in features]
        )

    def count_videos(self) -> int:
        """See :class:`VideoStore`."""
        return self._count('videos', FIRST_PART)

    def count_files(self) -> int:
        """See :class:`VideoStore`."""
        return self._count('files', 'content != ""')

    def _count(self, kind: str, condition: str) -> int:
        (row,) = self._client.query(
            self._collection(kind),
            filter=condition,
            output_fields=['count(*)'],
            consistency_level='Strong',
        )
        return row['count(*)']

    def lock(self) -> AbstractContextManager:
        """See :class:`VideoStore`. Rows are keyed, so none is needed."""
        return nullcontext()

    def refresh(self) -> None:
        """See :class:`VideoStore`. Every query asks the engine."""

    def compact(self) -> None:
        """See :class:`VideoStore`. The engine compacts by itself."""
        super().compact()
        for kind in ('videos', 'files'):
            self._client.flush(self._collection(kind))

    @cached_property
    def _client(self) -> 'MilvusClient':
        return MilvusClient(self._address.uri, **self._address.options)

    def switch_to(self, name: str) -> None:
        """See :class:`VideoStore`.

        The facts alone have an alias, of the engine, so that one change of
        it is the whole switch.
        """
        other = copy(self)
        other._address = self._address._replace(name=name)
        other.url = f'{self._address.uri}/{name}'
        other._name, other._info = name, None
        other.require_info()
        collection, alias = other._collection('about'), self._about
        if not self._has(alias):
            self._client.create_alias(collection, alias)
        elif self._find_collection(alias) != alias:
            self._client.alter_alias(collection, alias)
        else:
            self.refuse_switch(name)

    @property
    def _about(self) -> str:
        """Collection of the facts, or an alias of that of another index."""
        return f'{self._address.name}_about'

    def _find_collection(self, alias: str) -> str:
        return self._client.describe_collection(alias)['collection_name']

    def _follow_alias(self) -> None:
        """From now on, stay with the index that the address names now."""
        if self._has(self._about):
            collection = self._find_collection(self._about)
            self._name = collection.removesuffix('_about')

    def _has(self, collection: str) -> bool:
        uri = self._address.uri
        # To ask a file that is not there would make it.
        is_there = '://' in uri or os.path.exists(uri)
        return is_there and self._client.has_collection(collection)

    def _is_made(self) -> bool:
        """Whether all was made: the facts come last."""
        name = self._collection('about')
        return self._has(name) and self._is_indexed(name)

    def _is_indexed(self, collection: str) -> bool:
        """Whether the vectors of a collection have an index.

        It cannot be loaded without; a process may have been killed before it
        was made.
        """
        return bool(self._client.list_indexes(collection, field_name='vector'))

    def _collection(self, kind: str) -> str:
        return f'{self._name}_{kind}'

    def _put(self, kind: str, rows: Sequence[dict]) -> None:
        blank = dict(part=0, vector=[0.0] * BLANK_WIDTH)
        for start in range(0, len(rows), ROWS_PER_CALL):
            group = [
                {**blank, **row} for row in rows[start : start + ROWS_PER_CALL]
            ]
            self._client.upsert(self._collection(kind), group)

    def _get(
        self, kind: str, keys: Sequence[str], consistency: str = LOOKUP
    ) -> list[dict]:
        fields = ['json', 'content'] if kind == 'videos' else ['json']
        return self._client.get(
            self._collection(kind),
            list(keys),
            output_fields=fields,
            consistency_level=consistency,
        )

    def _query(
        self,
        kind: str,
        condition: str,
        *fields: str,
        page: int = ROWS_PER_CALL,
    ) -> Iterator[dict]:
        return self._client.iterate(
            self._collection(kind),
            filter=condition,
            output_fields=list(fields),
            batch_size=page,
            consistency_level='Strong',
        )


def _groups(values: Sequence[str]) -> Iterator[list[str]]:
    for start in range(0, len(values), CONTENTS_PER_FILTER):
        yield list(values[start : start + CONTENTS_PER_FILTER])


def _any_of(contents: Sequence[str]) -> str:
    return f'content in {json.dumps(list(contents))}'


def _encode(
    pooled: np.ndarray, tokens: np.ndarray, times: np.ndarray, precision: str
) -> str:
    """Write features as text: Milvus Lite has no field of bytes."""
    arrays = dict(
        pooled=pooled.astype('<f2').tobytes(),
        tokens=pack_tokens(tokens, precision),
        times=np.asarray(times, '<f4').tobytes(),
    )
    text = json.dumps(
        {key: base64.b64encode(each).decode() for key, each in arrays.items()}
    )
    if len(text) > MAX_STRING:
        raise SetupError(
            f'the features of a video take {len(text)} bytes as text, Milvus '
            f'takes {MAX_STRING}: index into another NAME with --precision '
            'int8, or read fewer frames'
        )
    return text


def _decode(
    text: str, info: dict
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read what :func:`_encode` wrote: pooled, tokens and times, float32."""
    arrays = {k: base64.b64decode(v) for k, v in json.loads(text).items()}
    return (
        np.frombuffer(arrays['pooled'], '<f2').astype(np.float32),
        unpack_tokens(arrays['tokens'], info['width'], info['precision']),
        np.frombuffer(arrays['times'], '<f4'),
    )


def make_collection(
    client: 'MilvusClient', index: str, kind: str, width: int = BLANK_WIDTH
) -> None:
    """Make a collection, or what it lacks where a process was killed.

    It is not loaded. A vector that is needed gets the index that the engine
    chooses. The others are all zero, of which a graph would be made at great
    cost. ``content`` is indexed: each search asks for the files of its
    results by it.

    Args:
        client: The engine.
        index: The name of the index.
        kind: One of ``KINDS``.
        width: Of the vector.

    Raises:
        SetupError: There is another collection of that name.
    """
    name = f'{index}_{kind}'
    present: Sequence[str] = ()
    if client.has_collection(name):
        _refuse_other(client, name, kind, width)
        present = [
            field
            for field in ('content', 'vector')
            if client.list_indexes(name, field_name=field)
        ]
    else:
        schema = _schema(client, kind, width)
        # What an iterator reads, whatever is asked of it alone.
        client.create_collection(
            name, schema=schema, consistency_level='Strong'
        )
    search = 'AUTOINDEX' if width > BLANK_WIDTH else 'FLAT'
    indices = client.prepare_index_params()
    if kind in WITH_CONTENT and 'content' not in present:
        indices.add_index('content', index_type=client.string_index)
    if 'vector' not in present:
        indices.add_index('vector', index_type=search, metric_type='IP')
    if len(indices):
        # There is nothing to index yet, and to wait takes half a second.
        client.create_index(name, indices, sync=False)


def make_metadata(client: 'MilvusClient', name: str) -> None:
    """Make the collection of metadata, with full text where Milvus has it.

    Args:
        client: The engine.
        name: Of the collection.
    """
    if client.has_collection(name):
        return
    for analyzer in ANALYZERS:
        try:
            _make_metadata(client, name, analyzer)
            break
        except SetupError:
            # Servers without full text make the collection, but no index.
            if client.has_collection(name):
                client.drop_collection(name)
            if analyzer is None:
                raise
    client.load_collection(name)


def _make_metadata(
    client: 'MilvusClient', name: str, analyzer: dict | None
) -> None:
    from pymilvus import DataType

    schema = _schema(client, METADATA, BLANK_WIDTH)
    schema.add_field('content', DataType.VARCHAR, max_length=KEY_LENGTH)
    schema.add_field('fields', DataType.JSON)
    indices = client.prepare_index_params()
    indices.add_index('vector', index_type='FLAT', metric_type='IP')
    text = dict(datatype=DataType.VARCHAR, max_length=MAX_STRING)
    if analyzer is not None:
        from pymilvus import Function, FunctionType

        text.update(enable_analyzer=True, analyzer_params=analyzer)
        schema.add_field('words', DataType.SPARSE_FLOAT_VECTOR)
        schema.add_function(
            Function(
                name='bm25',
                input_field_names=['text'],
                output_field_names=['words'],
                function_type=FunctionType.BM25,
            )
        )
        indices.add_index(
            'words',
            index_type='SPARSE_INVERTED_INDEX',
            metric_type='BM25',
        )
    schema.add_field('text', **text)
    client.create_collection(name, schema=schema, index_params=indices)


def _cut(text: str) -> str:
    """What of a text Milvus holds: its beginning."""
    encoded = text.encode('utf-8', 'replace')[:MAX_STRING]
    return encoded.decode('utf-8', 'ignore')


def _limit_json(row: Metadata) -> str:
    """Metadata as text; without the last subtitles where it is too long."""
    text = row.to_json()
    while len(text) > MAX_STRING and row.cues:
        row = replace(row, cues=row.cues[: len(row.cues) // 2])
        text = row.to_json()
    if len(text) > MAX_STRING:
        raise SetupError(
            f'the columns of {row.facts.get("path")!r} take {len(text)} bytes '
            f'as text, Milvus takes {MAX_STRING}: leave out the longest'
        )
    return text


def _plain_fields(row: Metadata) -> dict[str, Any]:
    columns = {k: v for k, v in row.columns.items() if v is not None}
    return {
        name: _cut(value) if isinstance(value, str) else value
        for name, value in columns.items()
    }


def _schema(client: 'MilvusClient', kind: str, width: int) -> Any:
    from pymilvus import DataType

    schema = client.create_schema(enable_dynamic_field=False)
    text = DataType.VARCHAR
    schema.add_field('key', text, is_primary=True, max_length=KEY_LENGTH)
    schema.add_field('part', DataType.INT16)
    schema.add_field('json', text, max_length=MAX_STRING)
    schema.add_field('vector', DataType.FLOAT_VECTOR, dim=width)
    if kind in WITH_CONTENT:
        schema.add_field('content', text, max_length=KEY_LENGTH)
    return schema


def _refuse_other(
    client: 'MilvusClient', name: str, kind: str, width: int
) -> None:
    """It may hold data of somebody else, or of a model of another width."""
    fields = {
        field['name']: field.get('params', {})
        for field in client.describe_collection(name)['fields']
    }
    expected = {'key', 'part', 'json', 'vector'}
    expected |= {'content'} if kind in WITH_CONTENT else set()
    found = fields.get('vector', {}).get('dim')
    if set(fields) != expected or int(found or 0) != width:
        raise SetupError(
            f'Milvus has a collection {name} already, with the fields '
            f'{", ".join(sorted(fields))} and vectors of {found}, expected '
            f'{", ".join(sorted(expected))} and {width}: give the index '
            'another NAME in its address, or drop the collection if nobody '
            'needs it'
        )


def choose_string_index(version: str, uri: str) -> str:
    """Choose the kind of index of strings that a server can make.

    Args:
        version: As a server says it, ``v2.3.5``, or ``milvus_lite-3.2.2``.
        uri: Of the engine, for messages.

    Raises:
        SetupError: The server is too old.

    Warns:
        UserWarning: The server is none that was tested.
    """
    if version.startswith(LITE_VERSION):
        return 'INVERTED'
    tested = ', '.join(f'{major}.{minor}' for major, minor in TESTED_VERSIONS)
    # Builds of a branch have none, hosted services have text around it.
    found = re.search(r'(\d+)\.(\d+)', version)
    number = (int(found[1]), int(found[2])) if found else None
    if number and number < OLDEST_VERSION:
        raise SetupError(
            f'Milvus at {uri} is {version}, mmtvr takes 2.3 and later: '
            'upgrade the server'
        )
    if number not in TESTED_VERSIONS:
        warnings.warn(
            f'Milvus at {uri} is {version}, which mmtvr was not tested with '
            f'({tested} was)',
            stacklevel=2,
        )
    is_old = number is not None and number < VERSION_OF_INVERTED
    return 'Trie' if is_old else 'INVERTED'


class MilvusClient:
    """pymilvus' ``MilvusClient`` with its errors as :class:`SetupError`.

    pymilvus itself tries again what a server that restarts or limits the rate
    refuses, for some minutes. What then still fails, fails by one of its
    exceptions: wrong password, no such database, memory or disk used up.

    Args:
        uri: Address of the engine, without secrets.
        **options: ``user`` and ``password``, or ``token``; ``db_name``. Not
            for Milvus Lite.

    Attributes:
        string_index: The kind of index that the engine makes of strings.

    Raises:
        SetupError: pymilvus is not installed, nobody answers, or the server
            is too old.
    """

    def __init__(self, uri: str, **options: str) -> None:
        pymilvus = import_extra('pymilvus', 'milvus', 'an index in Milvus')
        # It logs what it raises, with tracebacks.
        logging.getLogger('pymilvus').setLevel(logging.CRITICAL)
        self._uri = uri
        self._failure = pymilvus.exceptions.MilvusException
        channel = {} if '://' in uri else dict(grpc_options=LITE_CHANNEL)
        with self._as_setup_error():
            self._client = pymilvus.MilvusClient(uri, **options, **channel)
            version = self._client.get_server_version()
        self.string_index = choose_string_index(version, uri)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)

        def call(*arguments: Any, **options: Any) -> Any:
            return self._wait_for(
                lambda: method(*arguments, **options), *arguments[:1]
            )

        return call

    def iterate(self, *arguments: Any, **options: Any) -> Iterator[dict]:
        """``query_iterator``, row by row."""
        pages = self._wait_for(
            lambda: self._client.query_iterator(*arguments, **options),
            *arguments[:1],
        )
        try:
            while rows := self._wait_for(pages.next):
                yield from rows
        finally:
            pages.close()

    def _wait_for(
        self, function: Callable[[], Result], collection: str = ''
    ) -> Result:
        """Call, again where the server is starting: all may be repeated.

        pymilvus gives up when a server does not listen within ten seconds,
        and a server that was killed may have forgotten what was loaded.
        """
        end = time.monotonic() + SECONDS_TO_RETURN
        with self._as_setup_error():
            while True:
                try:
                    return function()
                except self._failure as error:
                    if not _may_pass(error) or time.monotonic() > end:
                        raise
                    is_loaded = error.code != NOT_LOADED
                time.sleep(SECONDS_BETWEEN_TRIES)
                if collection and not is_loaded:
                    with suppress(self._failure):
                        self._client.load_collection(collection)

    @contextmanager
    def _as_setup_error(self) -> Iterator[None]:
        try:
            yield
        except self._failure as error:
            reason = str(error.message or error).strip()
            raise SetupError(f'Milvus at {self._uri}: {reason}') from error


def _may_pass(error: Any) -> bool:
    """Whether an error is one of a server that is starting."""
    return error.code in (CONNECT_FAILED, NOT_LOADED) or (
        error.code == UNEXPECTED
        and UNREACHED.search(str(error.message)) is not None
    )


class MilvusAddress(NamedTuple):
    """The address of an index, taken apart.

    Attributes:
        uri: Of the engine, without secrets.
        name: Of the index; begins the names of its collections.
        options: How to log in, and to which database.
    """

    uri: str
    name: str
    options: dict[str, str]


def parse_address(url: str) -> MilvusAddress:
    """Take the address of an index apart; see :class:`MilvusStore`.

    Raises:
        SetupError: Milvus does not take the name or the file, or it is not
            clear what is the login.
    """
    if url.startswith(LITE):
        return MilvusAddress(_lite_file(url), DEFAULT_NAME, {})
    if is_ambiguous(url):
        raise SetupError(
            f'the address {hide_secrets(url)} can be read in several ways: '
            'percent-encode its user, password and token (@ is %40, / is %2F, '
            f'? is %3F, # is %23), or put the token into {TOKEN}'
        )
    parts = urlsplit(url)
    options = _parse_options(parts.query)
    if parts.username:
        options['user'] = unquote(parts.username)
        options['password'] = unquote(parts.password or '')
    elif TOKEN in os.environ:
        options.setdefault('token', os.environ[TOKEN])
    name = parts.path.strip('/') or DEFAULT_NAME
    if not NAME.fullmatch(name):
        raise SetupError(
            f'the index {hide_secrets(url)} is named {name!r}; Milvus '
            'takes letters, digits and underscores, no digit first'
        )
    host = parts.netloc.rpartition('@')[2]
    uri = urlunsplit((parts.scheme, host, '', '', ''))
    return MilvusAddress(uri, name, options)


def _lite_file(url: str) -> str:
    file = url.removeprefix(LITE)
    if not file.endswith(LITE_ENDING) or file.startswith('//'):
        raise SetupError(
            f'Milvus Lite takes a file that ends in {LITE_ENDING}, '
            f'{LITE}FILE{LITE_ENDING}, not {hide_secrets(url)}; a cluster '
            'is at http://HOST:19530/NAME'
        )
    return os.path.abspath(file)


def _parse_options(query: str) -> dict[str, str]:
    # Not parse_qs: a plus in a token is a plus.
    pairs = [each.partition('=') for each in query.split('&') if each]
    if any(name not in OPTIONS or not equals for name, equals, _ in pairs):
        # Not which: it may be the rest of a token.
        known = ' and '.join(f'{name}=' for name in OPTIONS)
        raise SetupError(
            f'an address in Milvus has the options {known} alone, this one '
            'has another; write & in a token as %26'
        )
    return {OPTIONS[name]: unquote(value) for name, _, value in pairs}
