"""An index in Milvus: a cluster at an address, or Milvus Lite in a file."""

import base64
import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit, urlunsplit

import numpy as np

from mmtvr.errors import SetupError
from mmtvr.search.stores.base import (
    LITE,
    FileEntry,
    StoredVideos,
    VideoStore,
    is_misread,
    pack_tokens,
    part_vectors,
    unpack_tokens,
    without_secrets,
)

DEFAULT_NAME = 'mmtvr'
TOKEN = 'MILVUS_TOKEN'
LITE_ENDING = '.db'
OPTIONS = dict(token='token', db='db_name')
# Three collections are named after it, and Milvus takes 255 characters.
NAME = re.compile('[A-Za-z_][A-Za-z0-9_]{0,239}')


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


def take_apart(url: str) -> MilvusAddress:
    """Take the address of an index apart.

    Args:
        url: See :class:`mmtvr.search.stores.milvus.MilvusStore`.

    Returns:
        Its parts.

    Raises:
        SetupError: Milvus does not take the name or the file, or it cannot
            be told what is the login.
    """
    if url.startswith(LITE):
        return MilvusAddress(_lite_file(url), DEFAULT_NAME, {})
    if is_misread(url):
        raise SetupError(
            f'the address {without_secrets(url)} can be read in several ways: '
            'percent-encode its user, password and token (@ is %40, / is %2F, '
            f'? is %3F, # is %23), or put the token into {TOKEN}'
        )
    parts = urlsplit(url)
    options = _options(parts.query)
    if parts.username:
        options['user'] = unquote(parts.username)
        options['password'] = unquote(parts.password or '')
    elif TOKEN in os.environ:
        options.setdefault('token', os.environ[TOKEN])
    name = parts.path.strip('/') or DEFAULT_NAME
    if not NAME.fullmatch(name):
        raise SetupError(
            f'the index {without_secrets(url)} is named {name!r}; Milvus '
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
            f'{LITE}FILE{LITE_ENDING}, not {without_secrets(url)}; a cluster '
            'is at http://HOST:19530/NAME'
        )
    return os.path.abspath(file)


def _options(query: str) -> dict[str, str]:
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


class MilvusClient:
    """Methods of pymilvus' ``MilvusClient``, told in one message on failure.

    pymilvus itself tries again what a server that restarts or limits the rate
    refuses, for some minutes. What then still fails, fails by one of its
    exceptions: wrong password, no such database, memory or disk used up.

    Args:
        uri: Address of the engine, without secrets.
        **options: ``user`` and ``password``, or ``token``; ``db_name``.

    Raises:
        SetupError: pymilvus is not installed, or nobody answers.
    """

    def __init__(self, uri: str, **options: str) -> None:
        try:
            import pymilvus
        except ImportError as error:
            raise SetupError(
                f'an index at {uri} needs pymilvus, which is not installed: '
                "pip install 'mmtvr[milvus]'"
            ) from error
        # It logs what it raises, with tracebacks.
        logging.getLogger('pymilvus').setLevel(logging.CRITICAL)
        self._uri = uri
        self._failure = pymilvus.exceptions.MilvusException
        with self._told():
            self._client = pymilvus.MilvusClient(uri, **options)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)

        def call(*arguments: Any, **options: Any) -> Any:
            with self._told():
                return method(*arguments, **options)

        return call

    def iterate(self, *arguments: Any, **options: Any) -> Iterator[dict]:
        """Query without a limit, page by page.

        Args:
            *arguments: Those of ``query_iterator``.
            **options: Likewise.

        Yields:
            Rows.
        """
        with self._told():
            pages = self._client.query_iterator(*arguments, **options)
        try:
            while rows := self._next(pages):
                yield from rows
        finally:
            pages.close()

    def _next(self, pages: Any) -> list[dict]:
        with self._told():
            return pages.next()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except self._failure as error:
            reason = str(error.message or error).strip()
            raise SetupError(f'Milvus at {self._uri}: {reason}') from error


# What a string field of Milvus holds at most.
LONGEST = 65535


def encode(
    pooled: np.ndarray, tokens: np.ndarray, times: np.ndarray, precision: str
) -> str:
    """Write features as text: Milvus Lite has no field of bytes.

    Args:
        pooled: Shape (D,).
        tokens: Shape (T, D).
        times: Shape (T,), seconds.
        precision: How tokens are kept.

    Returns:
        JSON.

    Raises:
        SetupError: It is longer than a string field of Milvus holds.
    """
    parts = dict(
        pooled=pooled.astype('<f2').tobytes(),
        tokens=pack_tokens(tokens, precision),
        times=np.asarray(times, '<f4').tobytes(),
    )
    text = json.dumps(
        {key: base64.b64encode(part).decode() for key, part in parts.items()}
    )
    if len(text) > LONGEST:
        raise SetupError(
            f'the features of a video take {len(text)} bytes as text, Milvus '
            f'takes {LONGEST}: index into another NAME with --precision int8, '
            'or read fewer frames'
        )
    return text


def decode(
    text: str, about: dict
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read features back.

    Args:
        text: What :func:`encode` returned.
        about: Facts about the index.

    Returns:
        Pooled vector (D,), tokens (T, D) and times (T,), float32.
    """
    parts = {k: base64.b64decode(part) for k, part in json.loads(text).items()}
    return (
        np.frombuffer(parts['pooled'], '<f2').astype(np.float32),
        unpack_tokens(parts['tokens'], about['width'], about['precision']),
        np.frombuffer(parts['times'], '<f4'),
    )


KEY_LENGTH = 64
#: Every collection of Milvus has a vector, needed or not, of 2 at least.
BLANK = 2
KINDS = ('videos', 'files', 'about')
WITH_CONTENT = ('videos', 'files')


def name_collection(index: str, kind: str) -> str:
    """Name a collection.

    Args:
        index: The name of the index.
        kind: One of ``KINDS``.

    Returns:
        The name.
    """
    return f'{index}_{kind}'


def is_made(client: MilvusClient, index: str, kind: str) -> bool:
    """Say whether a collection is there and whole.

    Args:
        client: The engine.
        index: The name of the index.
        kind: One of ``KINDS``.

    Returns:
        Whether its vectors have an index, without which it cannot be loaded:
        a process may have been killed before that was made.
    """
    name = name_collection(index, kind)
    return client.has_collection(name) and bool(
        client.list_indexes(name, field_name='vector')
    )


def make_collection(
    client: MilvusClient, index: str, kind: str, width: int = BLANK
) -> None:
    """Make a collection, or what it lacks where a process was killed.

    A vector that is needed gets the index that the engine chooses. The others
    are all zero, of which a graph would be made at great cost. ``content`` is
    indexed: each search asks for the files of its results by it.

    Args:
        client: The engine.
        index: The name of the index.
        kind: One of ``KINDS``.
        width: Of the vector.

    Raises:
        SetupError: There is another collection of that name.
    """
    name = name_collection(index, kind)
    present: Sequence[str] = ()
    if client.has_collection(name):
        _refuse_other(client, name, kind, width)
        present = [
            field
            for field in ('content', 'vector')
            if client.list_indexes(name, field_name=field)
        ]
    else:
        client.create_collection(name, schema=_schema(client, kind, width))
    search = 'AUTOINDEX' if width > BLANK else 'FLAT'
    indices = client.prepare_index_params()
    if kind in WITH_CONTENT and 'content' not in present:
        indices.add_index('content', index_type='INVERTED')
    if 'vector' not in present:
        indices.add_index('vector', index_type=search, metric_type='IP')
    if len(indices):
        # There is nothing to index yet, and to wait takes half a second.
        client.create_index(name, indices, sync=False)
    client.load_collection(name)


def _schema(client: MilvusClient, kind: str, width: int) -> Any:
    from pymilvus import DataType

    schema = client.create_schema(enable_dynamic_field=False)
    text = DataType.VARCHAR
    schema.add_field('key', text, is_primary=True, max_length=KEY_LENGTH)
    schema.add_field('part', DataType.INT16)
    schema.add_field('json', text, max_length=LONGEST)
    schema.add_field('vector', DataType.FLOAT_VECTOR, dim=width)
    if kind in WITH_CONTENT:
        schema.add_field('content', text, max_length=KEY_LENGTH)
    return schema


def _refuse_other(
    client: MilvusClient, name: str, kind: str, width: int
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


# A row has 64 kB at most, a message 64 MB as servers are configured.
ROWS_PER_CALL = 200
# What a search of a server returns at most.
MOST_HITS = 16_384
CONTENTS_PER_FILTER = 100
FIRST = 'part == 0'


class MilvusStore(VideoStore):
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
        SetupError: The address is none; where the index is opened or made,
            that pymilvus is not installed or nobody answers.
    """

    def __init__(self, url: str) -> None:
        self._address = take_apart(url)
        self._name = self._address.name
        self.url = without_secrets(url)
        self._about: dict | None = None

    def read_about(self) -> dict | None:
        """See :class:`VideoStore`."""
        if self._about is None and self._is_made():
            # Somebody may have released them from memory meanwhile.
            for kind in KINDS:
                self._client.load_collection(self._collection(kind))
            rows = self._get('about', ['about'])
            self._about = json.loads(rows[0]['json']) if rows else None
        return self._about

    def write_about(self, about: dict) -> None:
        """See :class:`VideoStore`."""
        facts = json.dumps(about)
        if len(facts) > LONGEST:
            raise SetupError(
                f'the config takes {len(facts)} bytes, Milvus takes {LONGEST}'
            )
        for kind in KINDS:
            width = about['width'] if kind == 'videos' else BLANK
            make_collection(self._client, self._name, kind, width)
        # Last: an index whose facts are there is whole.
        self._put('about', [dict(key='about', json=facts)])

    def add_videos(self, videos: StoredVideos) -> None:
        """See :class:`VideoStore`."""
        about = self.read_about()
        rows = []
        for content, pooled, tokens, times in zip(*videos, strict=True):
            features = encode(pooled, tokens, times, about['precision'])
            vectors = part_vectors(pooled, tokens, about['parts'])
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
                self._collection('videos'), filter=_among(group)
            )

    def list_files(self) -> Iterable[FileEntry]:
        """See :class:`VideoStore`."""
        for row in self._all('files', 'part == 0', ['json']):
            yield FileEntry.from_json(row['json'])

    def list_contents(self) -> set[str]:
        """See :class:`VideoStore`."""
        rows = self._all('videos', FIRST, ['content'])
        return {row['content'] for row in rows}

    def find_files(self, contents: Sequence[str]) -> list[FileEntry]:
        """See :class:`VideoStore`."""
        rows = [
            row
            for group in _groups(contents)
            for row in self._all('files', _among(group), ['json'])
        ]
        return [FileEntry.from_json(row['json']) for row in rows]

    def find_entry(self, key: str) -> FileEntry | None:
        """See :class:`VideoStore`."""
        rows = self._get('files', [key])
        return FileEntry.from_json(rows[0]['json']) if rows else None

    def nearest(
        self, query: np.ndarray, count: int
    ) -> list[tuple[str, float]]:
        """See :class:`VideoStore`."""
        (hits,) = self._client.search(
            self._collection('videos'),
            [query.tolist()],
            anns_field='vector',
            limit=min(count * self.read_about()['parts'], MOST_HITS),
            output_fields=['content'],
            consistency_level='Bounded',
        )
        best: dict[str, float] = {}
        for hit in hits:
            content = hit['entity']['content']
            best[content] = max(hit['distance'], best.get(content, -1.0))
        return sorted(best.items(), key=lambda pair: -pair[1])[:count]

    def read_videos(self, contents: Sequence[str]) -> StoredVideos:
        """See :class:`VideoStore`."""
        about = self.read_about()
        found = {}
        for group in _groups(list(dict.fromkeys(contents))):
            rows = self._get('videos', [f'{each}-0' for each in group])
            for row in rows:
                found[row['content']] = decode(row['json'], about)
        there = [content for content in contents if content in found]
        features = [found[content] for content in there]
        empty = np.zeros((0, about['width']), np.float32)
        pooled = np.stack([f[0] for f in features]) if features else empty
        return StoredVideos(
            there, pooled, [f[1] for f in features], [f[2] for f in features]
        )

    def count_videos(self) -> int:
        """See :class:`VideoStore`."""
        (row,) = self._client.query(
            self._collection('videos'),
            filter=FIRST,
            output_fields=['count(*)'],
            consistency_level='Strong',
        )
        return row['count(*)']

    def lock(self) -> AbstractContextManager:
        """See :class:`VideoStore`. Rows are keyed, so none is needed."""
        return nullcontext()

    def refresh(self) -> None:
        """See :class:`VideoStore`. Every query asks the engine."""

    def tidy(self) -> None:
        """See :class:`VideoStore`. The engine compacts by itself."""
        for kind in ('videos', 'files'):
            self._client.flush(self._collection(kind))

    @cached_property
    def _client(self) -> MilvusClient:
        return MilvusClient(self._address.uri, **self._address.options)

    def _is_made(self) -> bool:
        uri = self._address.uri
        # To ask a file that is not there would make it.
        there = '://' in uri or os.path.exists(uri)
        return there and is_made(self._client, self._name, 'about')

    def _collection(self, kind: str) -> str:
        return name_collection(self._name, kind)

    def _put(self, kind: str, rows: Sequence[dict]) -> None:
        blank = dict(part=0, vector=[0.0] * BLANK)
        for start in range(0, len(rows), ROWS_PER_CALL):
            part = rows[start : start + ROWS_PER_CALL]
            whole = [{**blank, **row} for row in part]
            self._client.upsert(self._collection(kind), whole)

    def _get(self, kind: str, keys: Sequence[str]) -> list[dict]:
        fields = ['json'] if kind != 'videos' else ['content', 'json']
        return self._client.get(
            self._collection(kind),
            list(keys),
            output_fields=fields,
            consistency_level='Strong',
        )

    def _all(
        self, kind: str, condition: str, fields: list[str]
    ) -> Iterator[dict]:
        return self._client.iterate(
            self._collection(kind),
            filter=condition,
            output_fields=fields,
            batch_size=ROWS_PER_CALL,
            consistency_level='Strong',
        )


def _groups(values: Sequence[str]) -> Iterator[list[str]]:
    for start in range(0, len(values), CONTENTS_PER_FILTER):
        yield list(values[start : start + CONTENTS_PER_FILTER])


def _among(contents: Sequence[str]) -> str:
    return f'content in {json.dumps(list(contents))}'
