"""What an index holds, and the interface of the engines that hold it."""

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence, Set
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from hashlib import blake2b
from typing import Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

import numpy as np

from mmtvr.errors import SetupError
from mmtvr.search.filters import Filter


class IndexUnavailableError(SetupError):
    """An index that was open cannot be used now, but may be again.

    It is gone, another one is in its place, or it is damaged.
    """


class DamagedIndexError(IndexUnavailableError):
    """What an index holds is not what was written.

    Args:
        url: The index.
        where: What is wrong, and where.
    """

    def __init__(self, url: str, where: str) -> None:
        super().__init__(
            f'the index {url} is damaged ({where}): copy it again from where '
            'it is whole; or delete it and make it again with the command '
            'that made it, `mmtvr index CONFIG VIDEOS --into INDEX`. '
            '`mmtvr doctor INDEX` lists what is damaged'
        )


KEY_BYTES = 16
#: Digits of the name of a video; those behind them number a window of it.
CONTENT_DIGITS = 2 * KEY_BYTES
WINDOW_DIGITS = 4
MAX_WINDOWS = 16**WINDOW_DIGITS
#: How token features are kept; the first is the default.
PRECISIONS = ('float16', 'int8')
INT8_MAX = 127
#: By how much rounding may change lengths and cosines of features.
TOLERANCE = 0.02
SCALE = np.dtype('<f2')
# Contents near each vector of a text that are merged, and of how many of those
# that come first then the frames are compared. What they keep of the exact
# ranking is in docs/results/search.md.
NEIGHBOURS = 200
COMPARED = 1000


@dataclass(frozen=True)
class FileEntry:
    """A file, or a span of it, that the index knows.

    Attributes:
        path: Absolute path.
        content: Hash of its bytes, and its span; names its features.
            Empty where the file could not be read.
        size: Bytes.
        changed: Modification and status change times in nanoseconds: a file
            with the same ones, and the same size, is as it was.
        source: What it was indexed as a part of: a folder, an annotation.
        start: First second of the span; None from the beginning.
        end: Last second of the span; None to the end.
        error: Why it could not be read; None for a video in the index.
        broken: Hash of the bytes, and the span, of a file that was opened
            and could not be decoded; it is not tried again while it is so.
        duration: Seconds that the file, or its span, lasts; None where that
            is not known.
        hubness: How close it is to reference texts, see
            :mod:`mmtvr.search.hubness`; None where that was not measured.
        windows: How many windows of a long video have features of their own,
            under :func:`window_content`; 0 for a video without.
    """

    path: str
    content: str
    size: int = 0
    changed: tuple[int, int] = (0, 0)
    source: str = ''
    start: float | None = None
    end: float | None = None
    error: str | None = None
    broken: str = ''
    duration: float | None = None
    hubness: float | None = None
    windows: int = 0

    @property
    def contents(self) -> list[str]:
        """What names its features: of the whole, then of its windows."""
        numbers = range(self.windows)
        windows = [window_content(self.content, each) for each in numbers]
        return [self.content, *windows]

    @property
    def key(self) -> str:
        """Name of the entry in an engine: hexadecimal, whatever the path."""
        span = f'{self.path}\0{self.start}\0{self.end}'
        encoded = span.encode('utf-8', 'surrogatepass')
        return blake2b(encoded, digest_size=KEY_BYTES).hexdigest()

    def to_json(self) -> str:
        """ASCII, also for paths that are no valid text."""
        fields = asdict(self)
        if self.hubness is None:
            # Earlier versions read no more fields than they know.
            del fields['hubness']
        if not self.windows:
            # As versions without windows wrote it, which they still read.
            del fields['windows']
        return json.dumps(fields)

    @classmethod
    def from_json(cls, text: str) -> 'FileEntry':
        """Read what :meth:`to_json` wrote.

        Raises:
            ValueError: It is something else.
        """
        try:
            fields = json.loads(text)
            fields['changed'] = tuple(fields['changed'])
            return cls(**fields)
        except (KeyError, TypeError) as error:
            raise ValueError(f'no entry of a file: {text:.80}') from error

    @property
    def is_gone(self) -> bool:
        """Whether there was a file that is not there now.

        Never for a name that was imported with its features.
        """
        return any(self.changed) and not os.path.lexists(self.path)


#: A value of a column; None where a video has none.
Value = str | float | bool | None


class Cue(NamedTuple):
    """What is said from one second of a file to another: a subtitle."""

    start: float
    end: float
    text: str


@dataclass(frozen=True)
class Metadata:
    """What is known of a file, or a span of it, beside its features.

    Attributes:
        key: Of its entry.
        content: Names its features; copies of a file have the same.
        facts: Columns that every file has: path, folder, duration and so on.
        given: Columns of a table of the user; they go before ``facts``.
        text: Of the columns whose text is searched.
        cues: Its subtitles.
        subtitles: Which files they were read from, as they were then.
    """

    key: str
    content: str
    facts: dict[str, Value]
    given: dict[str, Value]
    text: str = ''
    cues: tuple[Cue, ...] = ()
    subtitles: str = ''

    @property
    def columns(self) -> dict[str, Value]:
        """All columns."""
        return {**self.facts, **self.given}

    @property
    def searched_text(self) -> str:
        """All text that is searched."""
        return '\n'.join(filter(None, (self.text, *(c[2] for c in self.cues))))

    def to_json(self) -> str:
        """ASCII, also for paths that are no valid text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> 'Metadata':
        """Read what :meth:`to_json` wrote."""
        fields = json.loads(text)
        fields['cues'] = tuple(Cue(*each) for each in fields['cues'])
        return cls(**fields)


def window_content(content: str, number: int) -> str:
    """Name the features of a window of a video, hexadecimal.

    Example:
        >>> window_content('0123456789abcdef' * 2, 10)
        '0123456789abcdef0123456789abcdef000a'
    """
    return f'{content}{number:0{WINDOW_DIGITS}x}'


def window_number(content: str) -> int:
    """Number of a window, from what :func:`window_content` made."""
    return int(content[CONTENT_DIGITS:], 16)


def whole_content(content: str) -> str:
    """Name of the video that a window, or the whole, is of."""
    return content[:CONTENT_DIGITS]


class StoredVideos(NamedTuple):
    """Features of N videos, or windows of videos, by content.

    Attributes:
        contents: N hashes.
        pooled: Shape (N, D), float32, unit vectors.
        tokens: N arrays (T, D), float32, T may differ; empty (0, D) where
            only the pooled vector is known.
        times: N arrays (T,), float32, seconds from the first frame of the
            file.
    """

    contents: list[str]
    pooled: np.ndarray
    tokens: list[np.ndarray]
    times: list[np.ndarray]

    def select(self, rows: Sequence[int]) -> 'StoredVideos':
        """Take rows by their numbers, in that order."""
        return StoredVideos(
            [self.contents[row] for row in rows],
            self.pooled[list(rows)],
            [self.tokens[row] for row in rows],
            [self.times[row] for row in rows],
        )


class QueryVectors(NamedTuple):
    """Unit vectors of a text, which the first stage compares with parts.

    Attributes:
        sentence: Shape (D,), float32.
        words: Shape (L, D), float32; none for a head that compares pooled
            vectors.
        weights: Shape (L,), float32, how much each word counts; of sum 1.
        share: How much the sentence counts beside the words, from 0 to 1.
            Without words it counts alone.
    """

    sentence: np.ndarray
    words: np.ndarray
    weights: np.ndarray
    share: float = 0.5

    @property
    def levels(self) -> list[tuple[float, np.ndarray, np.ndarray]]:
        """Share, vectors and their weights of each level that counts."""
        one = np.ones(1, np.float32)
        share = self.share if len(self.words) else 1.0
        levels = [
            (share, self.sentence[None], one),
            (1 - share, self.words, self.weights),
        ]
        return [level for level in levels if level[0] > 0]

    @property
    def vectors(self) -> np.ndarray:
        """Shape (Q, D), those of all levels."""
        return np.concatenate([vectors for _, vectors, _ in self.levels])

    @property
    def all_weights(self) -> np.ndarray:
        """Shape (Q,), how much each of ``vectors`` counts."""
        return np.concatenate(
            [share * weights for share, _, weights in self.levels]
        )


def find_fault(videos: StoredVideos) -> str | None:
    """Describe what cannot be features of videos; None if they can be."""
    lengths = np.linalg.norm(videos.pooled, axis=1)
    # A comparison with NaN is false.
    for row in np.flatnonzero(~(np.abs(lengths - 1) < TOLERANCE)):
        return (
            f'the vector of {videos.contents[row]} has length {lengths[row]}'
        )
    for content, tokens, times in zip(
        videos.contents, videos.tokens, videos.times, strict=True
    ):
        if len(tokens) != len(times):
            return f'{content} has {len(tokens)} frames, {len(times)} times'
        if not (np.isfinite(tokens).all() and np.isfinite(times).all()):
            return f'the frames of {content} are not finite'
    return None


class VideoStore(ABC):
    """Features by content, files by path, and facts about the index.

    Every change is there as a whole or not at all, also when the process is
    killed, and readers see the state before or after it. Opening a store
    creates nothing; :meth:`create` makes an empty index.

    A subclass has a ``url`` without secrets, for messages.
    """

    url: str

    @abstractmethod
    def read_info(self) -> dict[str, Any] | None:
        """Facts about the index; None where there is no index yet."""

    @abstractmethod
    def create(self, info: dict[str, Any]) -> None:
        """Make an empty index, in place of what is there.

        Args:
            info: Facts about the index. The store itself uses ``width``, the
                number D of the features, ``precision``, how tokens are kept,
                and ``parts``, how many vectors the first stage has of a
                video.
        """

    @abstractmethod
    def write_info(self, info: dict[str, Any]) -> None:
        """Replace the facts about an index that is there.

        Args:
            info: As :meth:`read_info` gives it; what features depend on, and
                what the store itself uses, must be as it was.
        """

    @abstractmethod
    def add_videos(self, videos: StoredVideos) -> None:
        """Add features of contents that are not there yet, each once."""

    @abstractmethod
    def put_files(self, entries: Sequence[FileEntry]) -> None:
        """Add entries, or replace those with the same key; each key once."""

    @abstractmethod
    def remove_files(self, keys: Sequence[str]) -> None:
        """Remove entries by their keys."""

    @abstractmethod
    def remove_videos(self, contents: Sequence[str]) -> None:
        """Remove features by their contents."""

    @abstractmethod
    def list_files(self) -> Iterable[FileEntry]:
        """All entries, unreadable files included."""

    @abstractmethod
    def list_contents(self) -> set[str]:
        """All contents that have features."""

    @abstractmethod
    def find_files(self, contents: Sequence[str]) -> list[FileEntry]:
        """Entries of some contents, in any order."""

    @abstractmethod
    def find_entry(self, key: str) -> FileEntry | None:
        """The entry with a key, or None."""

    @abstractmethod
    def nearest(
        self, query: np.ndarray, count: int
    ) -> list[tuple[str, float]]:
        """Contents of which a part has the highest cosine.

        Args:
            query: Shape (D,), float32, unit vector.
            count: How many.

        Returns:
            At most ``count`` contents and the cosine of their best part, the
            best first.
        """

    def nearest_each(
        self, queries: np.ndarray, count: int
    ) -> list[list[tuple[str, float]]]:
        """:meth:`nearest` of several queries, shape (Q, D)."""
        return [self.nearest(query, count) for query in queries]

    def nearest_within(
        self, queries: np.ndarray, count: int, contents: Set[str]
    ) -> list[list[tuple[str, float]]]:
        """:meth:`nearest_each` among some videos and their windows alone.

        Args:
            queries: Shape (Q, D).
            count: How many.
            contents: The videos.
        """
        everything = self.count_videos()
        share = max(1, everything // max(1, len(contents)))
        asked = min(everything, 2 * count * share)
        while True:
            found = [
                [pair for pair in near if whole_content(pair[0]) in contents][
                    :count
                ]
                for near in self.nearest_each(queries, max(1, asked))
            ]
            enough = min(count, len(contents))
            if asked >= everything or min(map(len, found)) >= enough:
                return found
            asked = min(everything, 4 * asked)

    @abstractmethod
    def list_columns(self) -> dict[str, str]:
        """Types of the columns by name; empty in an index without any."""

    @abstractmethod
    def add_columns(self, columns: dict[str, str]) -> None:
        """Add columns that are not there yet; see :class:`Metadata`.

        Args:
            columns: ``number``, ``text`` or ``boolean`` by name.

        Raises:
            SetupError: One has another type, or a name that the engine does
                not take.
        """

    @abstractmethod
    def put_metadata(self, rows: Sequence[Metadata]) -> None:
        """Add rows, or replace those with the same key; each key once."""

    @abstractmethod
    def remove_metadata(self, keys: Sequence[str]) -> None:
        """Remove rows by their keys."""

    @abstractmethod
    def list_metadata(self) -> Iterable[Metadata]:
        """All rows."""

    @abstractmethod
    def find_metadata(self, keys: Sequence[str]) -> dict[str, Metadata]:
        """The rows with some keys, by key; unknown ones are left out."""

    @abstractmethod
    def find_matching(self, where: Filter) -> dict[str, set[str]]:
        """Contents of which a file matches, and the keys of these files."""

    @abstractmethod
    def search_text(
        self, text: str, count: int, where: Filter | None = None
    ) -> list[tuple[str, str]]:
        """Full-text search in :attr:`Metadata.searched_text`.

        Returns:
            At most ``count`` pairs of key and content, the best by BM25
            first; files without any of the words are none.
        """

    def find_candidates(
        self,
        queries: Sequence[QueryVectors],
        count: int,
        within: Set[str] | None = None,
    ) -> list[list[str]]:
        """Contents that are most like the sentence and the words of a text.

        By :func:`compare_parts`. Here they are the contents that come first
        among the neighbours of all vectors, see :func:`merge_neighbours`; an
        engine that can compare all contents does.

        Args:
            queries: At least one.
            count: How many contents.
            within: Among these videos and their windows alone; None for all.

        Returns:
            For each query at most ``count`` contents, the best first.
        """
        vectors = np.concatenate([query.vectors for query in queries])
        neighbours = max(count, NEIGHBOURS)
        if within is None:
            found = self.nearest_each(vectors, neighbours)
        else:
            found = self.nearest_within(vectors, neighbours, within)
        each = iter(found)
        ranked = []
        for query in queries:
            near = [next(each) for _ in query.vectors]
            merged = merge_neighbours(
                near, query.all_weights, max(count, COMPARED)
            )
            ranked.append(self.rank_by_frames(query, merged, COMPARED)[:count])
        return ranked

    def rank_by_frames(
        self, query: QueryVectors, contents: Sequence[str], compared: int
    ) -> list[str]:
        """Order contents by :func:`compare_parts` with all frames.

        Args:
            query: The text.
            contents: The best first.
            compared: How many of the first are read. Those that are no more
                are left out, and the others stay behind as they were.
        """
        videos = self.read_videos(contents[:compared])
        rest = list(contents[compared:])
        if not videos.contents:
            return rest
        # With one part the head compares no frames, and of some videos the
        # whole alone is known.
        is_whole = self.require_info()['parts'] == 1
        frames = [
            pooled[None] if is_whole or not len(tokens) else tokens
            for pooled, tokens in zip(
                videos.pooled, videos.tokens, strict=True
            )
        ]
        starts = np.cumsum([0, *map(len, frames)])[:-1]
        scores = compare_parts(query, np.concatenate(frames), starts)
        # Of equal ones always the same first: pages depend on it.
        order = np.lexsort((videos.contents, -scores))
        return [videos.contents[row] for row in order] + rest

    @abstractmethod
    def read_videos(self, contents: Sequence[str]) -> StoredVideos:
        """Features in the order of ``contents``; unknown ones are left out."""

    @abstractmethod
    def count_videos(self) -> int:
        """Number of contents: copies of a file are one."""

    @abstractmethod
    def count_files(self) -> int:
        """Number of files and spans that have features, copies each."""

    @abstractmethod
    def lock(self) -> AbstractContextManager:
        """Keep other processes from indexing into the same place.

        Raises:
            SetupError: On entering, if another process holds the lock.
        """

    @abstractmethod
    def refresh(self) -> None:
        """See what other processes have written meanwhile."""

    @abstractmethod
    def compact(self) -> None:
        """Make searching fast after many changes.

        A content that two processes added at once is there once afterwards.
        """

    def switch_to(self, name: str) -> None:
        """Make the address of this store another name of an index.

        What has the address open stays with the index that it opened; who
        opens it from now on opens the other. Nothing is copied or removed.

        Args:
            name: NAME of an index of the same server and database.

        Raises:
            SetupError: There is no such index, the address is an index
                itself, or the engine has no second names.
        """
        raise SetupError(
            f'{self.url} cannot be switched to {name!r}: only an address in '
            'Milvus or PostgreSQL can name another index'
        )

    def find_damage(self) -> tuple[list[str], str]:
        """Examine everything that the index keeps about itself.

        Returns:
            What is damaged; and what could not be examined, and why. Nothing
            of an engine that looks after its data itself.
        """
        return [], ''

    def require_info(self) -> dict[str, Any]:
        """Facts about the index.

        Raises:
            SetupError: There is no index.
        """
        info = self.read_info()
        if info is None:
            raise SetupError(
                f'there is no index {self.url}: make one with '
                '`mmtvr index CONFIG VIDEOS --into INDEX`'
            )
        return info

    def refuse_switch(self, name: str) -> None:
        """Raise the error of an address that is an index itself."""
        raise SetupError(
            f'{self.url} is an index itself and cannot name {name!r}: choose '
            'an address where there is none'
        )

    def read_file(self, file: FileEntry) -> StoredVideos:
        """Features of a file that is as it was when it was indexed, or gone.

        Args:
            file: What the file system says of it now.

        Returns:
            Its features, of the whole and behind it those of its windows; or
            those of no video.
        """
        entry = self.find_entry(file.key)
        stamp = (file.size, file.changed)
        is_there = any(file.changed)
        if entry is None or (
            is_there and (entry.size, entry.changed) != stamp
        ):
            return self.read_videos([])
        return self.read_videos(entry.contents)


def check_info(info: Any, url: str) -> dict[str, Any]:
    """Check the facts that a store reads features by.

    Raises:
        DamagedIndexError: They are no facts of an index.
    """
    facts = info if isinstance(info, dict) else {}
    for name in ('width', 'parts'):
        if not isinstance(facts.get(name), int) or facts[name] < 1:
            value = f'{facts.get(name)!r:.40}'
            raise DamagedIndexError(url, f'{name} of its facts is {value}')
    if facts.get('precision') not in PRECISIONS:
        value = f'{facts.get("precision")!r:.40}'
        raise DamagedIndexError(url, f'precision of its facts is {value}')
    return facts


def check_columns(
    there: dict[str, str], columns: dict[str, str], url: str
) -> dict[str, str]:
    """Find columns that are to be added.

    Raises:
        SetupError: One is there with another type.
    """
    for name, kind in columns.items():
        if there.get(name, kind) != kind:
            raise SetupError(
                f'the column {name} of {url} holds a {there[name]}, the new '
                f'values are a {kind}: give the column another name'
            )
    return {k: kind for k, kind in columns.items() if k not in there}


def same_model(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether features of two indexes can be compared, by their facts."""
    facts = ('format', 'model', 'pipeline', 'checkpoint', 'file', 'width')
    return all(one.get(fact) == other.get(fact) for fact in facts)


def require_at_least(least: int, **numbers: int) -> None:
    """Refuse arguments that are too small, before anything is written.

    Raises:
        SetupError: One is smaller; names it.

    Example:
        >>> require_at_least(1, top_k=10, candidates=100)
    """
    for name, number in numbers.items():
        if number < least:
            raise SetupError(f'{name} must be at least {least}, got {number}')


def compare_parts(
    query: QueryVectors, parts: np.ndarray, starts: np.ndarray
) -> np.ndarray:
    r"""Compare a text with V videos by the parts of these.

    What :class:`mmtvr.models.heads.DMAEHead` does with frames, without its
    second frame: the mean over the levels, the sentence and the words, of

    .. math:: \tfrac12 \Bigl(\sum_l w_l \max_p s_{lp}
        + \tfrac1P \sum_p \max_l s_{lp}\Bigr).

    Args:
        query: The text.
        parts: Shape (sum of P, D), float32, unit vectors of one video after
            the other.
        starts: Shape (V,), the first part of each video; each has one.

    Returns:
        Shape (V,), float32.
    """
    return score_parts(query, parts @ query.vectors.T, starts)


def score_parts(
    query: QueryVectors, cosines: np.ndarray, starts: np.ndarray
) -> np.ndarray:
    """Do what :func:`compare_parts` does, from the cosines.

    Args:
        query: The text.
        cosines: Shape (sum of P, Q), of each part with ``query.vectors``.
        starts: Shape (V,), the first part of each video; each has one.

    Returns:
        Shape (V,), float32.
    """
    counts = np.diff(starts, append=len(cosines))
    # Vectors of the text first: numpy is fast along the parts.
    cosines = np.ascontiguousarray(cosines.T)
    scores = np.zeros(len(starts), np.float32)
    first = 0
    for share, vectors, weights in query.levels:
        level = cosines[first : first + len(vectors)]
        first += len(vectors)
        best = np.maximum.reduceat(level, starts, axis=1)
        nearest = np.add.reduceat(level.max(axis=0), starts) / counts
        scores += share / 2 * (weights @ best + nearest)
    return scores


def merge_neighbours(
    found: Sequence[Sequence[tuple[str, float]]],
    weights: Sequence[float] | np.ndarray,
    count: int,
) -> list[str]:
    """Rank contents by the neighbours of all vectors of one query.

    The weighted sum of their cosines. A content that is no neighbour of a
    vector is at most as near as the last one, whose cosine stands for it, as
    in XTR (arXiv:2304.01982).

    Args:
        found: For each vector its neighbours and their cosines, the best
            first; with fewer neighbours than asked for, the whole index.
        weights: How much each vector counts.
        count: How many contents.

    Returns:
        At most ``count`` contents, the best first.

    Example:
        >>> near = [('a', 0.9), ('b', 0.5)], [('b', 0.8), ('c', 0.7)]
        >>> merge_neighbours(near, [0.5, 0.5], count=2)
        ['a', 'b']
    """
    scores: dict[str, float] = {}
    for neighbours, weight in zip(found, weights, strict=True):
        if neighbours:
            last = neighbours[-1][1]
            for content, cosine in neighbours:
                gain = float(weight) * (cosine - last)
                scores[content] = scores.get(content, 0.0) + gain
    return sorted(scores, key=scores.__getitem__, reverse=True)[:count]


def part_vectors(
    pooled: np.ndarray, tokens: np.ndarray, count: int
) -> np.ndarray:
    """Pool a video in several parts, one after the other in time.

    A caption often describes a part of a video only. Its vector is then near
    that of the part, while the mean of all frames may be far from both.

    Args:
        pooled: Shape (D,), the vector of the whole.
        tokens: Shape (T, D), the frames; T may be 0.
        count: Number of parts wanted. 1: the whole.

    Returns:
        Shape (P, D), unit vectors: the means of P = min(count, T) parts of
        about as many frames; the whole alone for one part.
    """
    if count == 1 or len(tokens) < 2:
        return pooled[None]
    numbers = np.arange(min(count, len(tokens)))
    frames, longer = divmod(len(tokens), len(numbers))
    starts = numbers * frames + np.minimum(numbers, longer)
    # Sums, which have the directions of the means.
    vectors = np.add.reduceat(tokens, starts, axis=0, dtype=np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(lengths, np.finfo(np.float32).tiny)


def pack_tokens(tokens: np.ndarray, precision: str) -> bytes:
    """Turn the tokens (T, D) of one video into bytes, little endian.

    ``'float16'`` takes 2 D bytes a token. ``'int8'`` takes D + 2: each token
    is divided by the largest of its numbers.
    """
    if precision == 'float16':
        return tokens.astype('<f2').tobytes()
    # Rounded up: a scale rounded down would carry the largest past 127.
    scale = np.abs(tokens).max(axis=1, keepdims=True, initial=0) / INT8_MAX
    stored = np.nextafter(scale.astype(SCALE), SCALE.type(np.inf))
    whole = np.rint(tokens / stored.astype(np.float32)).astype(np.int8)
    return stored.tobytes() + whole.tobytes()


def unpack_tokens(
    packed: bytes, width: int, precision: str, videos: int = 1
) -> np.ndarray:
    """Read what :func:`pack_tokens` wrote: (T, ``width``), float32.

    Args:
        packed: The bytes, of equally many tokens of each video one after the
            other.
        width: Width D of the features.
        precision: How they are kept.
        videos: How many videos they are of.
    """
    if precision == 'float16':
        return np.frombuffer(packed, '<f2').reshape(-1, width).astype('f4')
    rows = np.frombuffer(packed, np.int8).reshape(videos, -1)
    scales = rows.shape[1] // (width + SCALE.itemsize) * SCALE.itemsize
    scale = np.ascontiguousarray(rows[:, :scales]).view(SCALE)
    # In two passes, of which each takes a quarter of the time of one.
    tokens = rows[:, scales:].reshape(-1, width).astype(np.float32)
    tokens *= scale.reshape(-1, 1).astype(np.float32)
    return tokens


LITE = 'milvus:'
CLUSTERS = ('http', 'https')
POSTGRES = ('postgresql', 'postgres')
OBJECT_STORES = ('s3', 'gs', 'az')


def hide_secrets(url: str) -> str:
    """Write the address of an index so that everybody may read it.

    Returns:
        The address without user, password, token and other options; the
        database stays, without which the index is not found. Where it is not
        clear what is secret, the kind of the address alone.

    Examples:
        >>> hide_secrets('https://ann:pass@host/clips?token=abc&db=films')
        'https://host/clips?db=films'
        >>> hide_secrets('https://ann:pa/ss@host/clips')
        'https://...'
    """
    scheme, separator, _ = url.partition('://')
    if not separator:
        return url
    if is_ambiguous(url):
        return f'{scheme}://...'
    parts = urlsplit(url)
    host = parts.netloc.rpartition('@')[2]
    options = parts.query.split('&')
    shown = '&'.join(each for each in options if each.startswith('db='))
    return urlunsplit((parts.scheme, host, parts.path, shown, ''))


def is_ambiguous(url: str) -> bool:
    """Whether parts of a secret may be taken for something else.

    Returns:
        True where an ``@`` stands behind the host, as after a password with
        a slash in it, where something follows a ``#``, and where it is no
        address at all. Names in object stores may have an ``@``.

    Example:
        >>> is_ambiguous('https://ann:pa%2Fss@host/clips')
        False
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return True
    if parts.scheme in OBJECT_STORES:
        return False
    return '@' in parts.path + parts.query or bool(parts.fragment)
