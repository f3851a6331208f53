"""Stores on servers, with a first stage by codes in the process that asks."""

import io
import json
import time
from abc import abstractmethod
from collections.abc import Collection, Iterator, Sequence, Set
from typing import NamedTuple
from uuid import uuid4

import numpy as np

from mmtvr.search.stores.base import (
    QueryVectors,
    StoredVideos,
    VideoStore,
    part_vectors,
)
from mmtvr.search.stores.part_codes import (
    PartCodes,
    count_centroids,
    sample_size,
    train,
)

# From so many videos on there are codes, since among fewer, merged neighbours
# whose frames are compared miss nothing; and up to so many, whose codes take
# 1.5 GB in each process that asks, and a query 0.2 s.
CODED_FROM = 100
CODED_TO = 20_000_000
# Of how many of the first videos the frames are compared, and in an index of
# how many videos of more. What they keep of the exact ranking is in
# docs/results/search.md.
FRAMES = 500
MANY = 50_000
FRAMES_OF_MANY = 1500
VIDEOS_PER_BLOB = 4096
# With so many times as many blobs as there need be, they are written anew.
MAX_BLOBS = 8
READ_AT_ONCE = 512
# Of an index, what its codes depend on.
FACTS = ('model', 'pipeline', 'checkpoint', 'file', 'width', 'parts')
# How often it is looked whether other processes have added codes.
SECONDS_BETWEEN_LOOKS = 1.0

# Shapes (V,), (V, P) and (V, P): names, codes and residual codes of videos.
Coded = Sequence[np.ndarray]


class _Known(NamedTuple):
    """The codes as they were read.

    Attributes:
        names: Of all blobs that were there.
        generation: Name of the newest one that is whole; '' for none.
        codes: Its codes; None for none.
        time: When it was looked.
    """

    names: frozenset[str]
    generation: str
    codes: PartCodes | None
    time: float


class CodedStore(VideoStore):
    """A store on a server that keeps the codes of all parts in blobs.

    The blob ``GENERATION`` holds centroids, residuals and which model they are
    of, and each blob ``GENERATION-...`` the codes of some videos by these. The
    first is written last: with it a generation is whole. What is added
    afterwards gets its codes at once. :meth:`compact` makes those that are
    absent, removes those of videos that are no more, and makes a new
    generation where there should be many more centroids.

    A subclass keeps the blobs.
    """

    _known: _Known | None = None

    @abstractmethod
    def write_videos(self, videos: StoredVideos) -> None:
        """:meth:`add_videos` without codes."""

    @abstractmethod
    def put_blob(self, name: str, data: bytes) -> None:
        """Add a blob, as a whole or not at all.

        Args:
            name: Up to 50 letters, digits, points and hyphens.
            data: Up to some 20 MB.
        """

    @abstractmethod
    def list_blobs(self) -> set[str]:
        """Names of all blobs; those of other processes after a moment."""

    @abstractmethod
    def read_blobs(self, names: Collection[str]) -> dict[str, bytes]:
        """Blobs by name, but for those that are not there."""

    @abstractmethod
    def remove_blobs(self, names: Collection[str]) -> None:
        """Remove blobs."""

    def add_videos(self, videos: StoredVideos) -> None:
        """See :class:`VideoStore`."""
        known = self._look()
        if known.codes is not None:
            # First: what has no codes would be looked for by all who search.
            self._put_codes(
                known.generation, self._encode(videos, known.codes)
            )
        self.write_videos(videos)

    def find_candidates(
        self,
        queries: Sequence[QueryVectors],
        count: int,
        within: Set[str] | None = None,
    ) -> list[list[str]]:
        """See :class:`VideoStore`. With codes, all videos are compared."""
        codes = self._look().codes
        if codes is None:
            return super().find_candidates(queries, count, within)
        numbers = None if within is None else codes.choose(within)
        return [
            self._find_near(query, count, codes, numbers)[:count]
            for query in queries
        ]

    def _find_near(
        self,
        query: QueryVectors,
        count: int,
        codes: PartCodes,
        numbers: np.ndarray | None,
    ) -> list[str]:
        """Compare all videos, or those of some numbers, with one text."""
        everything = len(codes.contents if numbers is None else numbers)
        compared = FRAMES_OF_MANY if len(codes.contents) > MANY else FRAMES
        while True:
            near = codes.find_near(query, max(count, compared), numbers)
            contents = codes.contents[near].astype(str).tolist()
            ranked = self.rank_by_frames(query, contents, compared)
            # Codes of what was removed stay until the next compaction.
            gone = len(contents) - len(ranked)
            if gone <= compared // 4 or compared >= everything:
                return ranked
            compared *= 2

    def compact(self) -> None:
        """See :class:`VideoStore`."""
        names = frozenset(self.list_blobs())
        contents = np.array(sorted(self.list_contents()), bytes)
        if not CODED_FROM <= len(contents) <= CODED_TO:
            self.remove_blobs(names)
            return
        generation, codes = self._read_generation(names)
        if codes is None or not codes.fits(len(contents) * self._parts):
            generation, codes = '', self._train(contents)
        codes = codes.select(np.isin(codes.contents, contents))
        added = self._encode_stored(contents, codes)
        most = MAX_BLOBS * (1 + len(contents) // VIDEOS_PER_BLOB)
        if generation and len(names) <= most:
            self._put_codes(generation, added)
            self._remove_stale(generation, names, contents)
            return
        codes = codes.add(*added)
        last = max((int(name.partition('.')[0]) for name in names), default=0)
        # Of two processes at the same time, each has its own.
        generation = f'{last + 1:08d}.{uuid4().hex[:8]}'
        self._put_codes(
            generation, (codes.contents, codes.codes, codes.residual_codes)
        )
        book = codes.centroids, codes.residuals, self._model
        self.put_blob(generation, _pack(*book))
        self.remove_blobs(names)
        self._known = None

    def _remove_stale(
        self, generation: str, names: Set[str], contents: np.ndarray
    ) -> None:
        """Remove codes of videos that are no more, and older generations."""
        stale = {name for name in names if name < generation}
        own = [name for name in names if name.startswith(f'{generation}-')]
        for name, data in self.read_blobs(own).items():
            coded = _unpack(data)
            is_there = np.isin(coded[0], contents)
            if not is_there.all():
                self._put_codes(generation, [each[is_there] for each in coded])
                stale.add(name)
        self.remove_blobs(stale)

    @property
    def _parts(self) -> int:
        return self.require_info()['parts']

    @property
    def _model(self) -> np.ndarray:
        """What tells the codes of one model from those of another."""
        info = self.require_info()
        return np.array(json.dumps({fact: info.get(fact) for fact in FACTS}))

    def _look(self) -> _Known:
        """What is known, after a look at what others have added."""
        known, now = self._known, time.monotonic()
        if known is None or now - known.time > SECONDS_BETWEEN_LOOKS:
            names = frozenset(self.list_blobs())
            if known is None or names != known.names:
                known = self._read_all(names, known)
            self._known = known = known._replace(time=now)
        return known

    def _read_all(self, names: frozenset[str], known: _Known | None) -> _Known:
        """Codes of all videos there are, also of those that have none."""
        while True:
            generation, codes = self._read_generation(names, known)
            found = _Known(names, generation, codes, -np.inf)
            if codes is None or self.count_videos() <= len(codes.contents):
                return found
            now = frozenset(self.list_blobs())
            if now == names:
                break
            # They have changed while they were read.
            names = now
        # An older mmtvr added some, or the server has lost codes.
        there = np.array(sorted(self.list_contents()), bytes)
        added = self._encode_stored(there, codes)
        return found._replace(codes=codes.add(*added))

    def _read_generation(
        self, names: frozenset[str], known: _Known | None = None
    ) -> tuple[str, PartCodes | None]:
        """Read the newest generation.

        Args:
            names: Of all blobs.
            known: What need not be read again.

        Returns:
            Its name, and its codes; '' and None where there is none.
        """
        generation = max((n for n in names if '-' not in n), default='')
        new = {n for n in names if n.startswith(f'{generation}-')}
        codes = None
        if known and known.generation == generation and known.names <= names:
            codes = known.codes
            new -= known.names
        elif generation:
            for data in self.read_blobs([generation]).values():
                centroids, residuals, model = _unpack(data)
                # An older mmtvr leaves the codes of the index that it makes
                # anew.
                if model == self._model:
                    codes = PartCodes.empty(centroids, residuals, self._parts)
        if codes is None:
            return '', None
        blobs = [_unpack(data) for data in self.read_blobs(new).values()]
        if blobs:
            codes = codes.add(*map(np.concatenate, zip(*blobs, strict=True)))
        return generation, codes

    def _train(self, contents: np.ndarray) -> PartCodes:
        """Centroids and residuals, without codes of any video yet."""
        count = count_centroids(len(contents) * self._parts)
        size = -(-sample_size(count) // self._parts)
        chosen = np.random.default_rng(0).permutation(contents)[:size]
        read = self._read_stored(chosen)
        sample = np.concatenate([self._stack_parts(some) for some in read])
        found = train(sample.__getitem__, np.arange(len(sample)), count)
        return PartCodes.empty(*found, self._parts)

    def _encode_stored(self, contents: np.ndarray, codes: PartCodes) -> Coded:
        """Codes of those of some videos that have none yet."""
        absent = contents[~codes.includes(contents)]
        coded = [
            self._encode(some, codes) for some in self._read_stored(absent)
        ]
        return tuple(map(np.concatenate, zip(*coded, strict=True)))

    def _read_stored(self, contents: np.ndarray) -> Iterator[StoredVideos]:
        """Some at a time, and none at the end."""
        for start in range(0, len(contents) + 1, READ_AT_ONCE):
            some = contents[start : start + READ_AT_ONCE]
            yield self.read_videos(some.astype(str).tolist())

    def _encode(self, videos: StoredVideos, codes: PartCodes) -> Coded:
        vectors = self._stack_parts(videos)
        found = codes.encode(vectors)
        shape = len(videos.contents), self._parts
        coarse, fine = (each.reshape(shape) for each in found)
        return np.array(videos.contents, 'S'), coarse, fine

    def _stack_parts(self, videos: StoredVideos) -> np.ndarray:
        """Vectors (V * P, D); a video with fewer parts repeats its last."""
        count = self._parts
        stacked = [np.zeros((0, videos.pooled.shape[1]), np.float32)]
        for pooled, tokens in zip(videos.pooled, videos.tokens, strict=True):
            vectors = part_vectors(pooled, tokens, count)
            place = np.minimum(np.arange(count), len(vectors) - 1)
            stacked.append(vectors[place])
        return np.concatenate(stacked)

    def _put_codes(self, generation: str, coded: Coded) -> None:
        for start in range(0, len(coded[0]), VIDEOS_PER_BLOB):
            some = slice(start, start + VIDEOS_PER_BLOB)
            names, coarse, fine = (each[some] for each in coded)
            data = _pack(names, coarse.astype(np.uint16), fine)
            self.put_blob(f'{generation}-{uuid4().hex}', data)
        if self._known is not None:
            # What this process wrote it sees at once.
            self._known = self._known._replace(time=-np.inf)


def _pack(*arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, *arrays)
    return file.getvalue()


def _unpack(data: bytes) -> list[np.ndarray]:
    """Read what :func:`_pack` wrote, in its order."""
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        return [file[name] for name in file.files]
