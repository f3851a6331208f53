"""An index in Milvus: a cluster at an address, or Milvus Lite in a file."""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property

import numpy as np

from mmtvr.errors import SetupError
from mmtvr.search.addresses import without_secrets
from mmtvr.search.milvus_address import take_apart
from mmtvr.search.milvus_client import MilvusClient
from mmtvr.search.milvus_collections import (
    BLANK,
    KINDS,
    is_made,
    make_collection,
    name_collection,
)
from mmtvr.search.milvus_rows import LONGEST, decode, encode
from mmtvr.search.parts import part_vectors
from mmtvr.search.records import FileEntry, StoredVideos
from mmtvr.search.store import VideoStore

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
