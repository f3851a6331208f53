"""What an index holds, and the interface of the engine that holds it."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from hashlib import blake2b
from typing import NamedTuple
from urllib.parse import urlsplit, urlunsplit

import numpy as np

from mmtvr.errors import SetupError

KEY_BYTES = 16


@dataclass(frozen=True)
class FileEntry:
    """A file, or a span of it, that the index knows.

    Attributes:
        path: Absolute path.
        content: Hash of its bytes, and its span; names its features.
            Empty where the file could not be read.
        size: Bytes.
        changed: Modification and status change times in nanoseconds, which
            tell without reading it that a file is as it was.
        source: What it was indexed as a part of: a folder, an annotation.
        start: First second of the span; None from the beginning.
        end: Last second of the span; None to the end.
        error: Why it could not be read; None for a video in the index.
        broken: Hash of the bytes, and the span, of a file that was opened
            and could not be decoded; it is not tried again while it is so.
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

    @property
    def key(self) -> str:
        """Name of the entry in an engine: hexadecimal, whatever the path."""
        span = f'{self.path}\0{self.start}\0{self.end}'
        named = span.encode('utf-8', 'surrogatepass')
        return blake2b(named, digest_size=KEY_BYTES).hexdigest()

    def to_json(self) -> str:
        """ASCII, also for paths that are no valid text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> 'FileEntry':
        """Read what :meth:`to_json` wrote.

        Args:
            text: The JSON.

        Returns:
            The entry.
        """
        fields = json.loads(text)
        fields['changed'] = tuple(fields['changed'])
        return cls(**fields)


class StoredVideos(NamedTuple):
    """Features of N videos, by content.

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
        """Take rows.

        Args:
            rows: Row numbers.

        Returns:
            The rows in that order.
        """
        return StoredVideos(
            [self.contents[row] for row in rows],
            self.pooled[list(rows)],
            [self.tokens[row] for row in rows],
            [self.times[row] for row in rows],
        )


class VideoStore(ABC):
    """Features by content, files by path, and facts about the index.

    Every change is there as a whole or not at all, also when the process is
    killed, and readers see the state before or after it.
    """

    url: str

    @abstractmethod
    def read_about(self) -> dict | None:
        """Facts about the index; None where there is no index yet."""

    @abstractmethod
    def write_about(self, about: dict) -> None:
        """Make an empty index.

        Args:
            about: Facts about the index; ``width`` is the number D of the
                features, ``precision`` how tokens are kept, ``parts`` how
                many vectors the first stage has of a video.
        """

    @abstractmethod
    def add_videos(self, videos: StoredVideos) -> None:
        """Add features.

        Args:
            videos: Contents that are not there yet, each once.
        """

    @abstractmethod
    def put_files(self, entries: Sequence[FileEntry]) -> None:
        """Add entries, or replace those with the same key.

        Args:
            entries: Files, each key once.
        """

    @abstractmethod
    def remove_files(self, keys: Sequence[str]) -> None:
        """Remove entries.

        Args:
            keys: Their keys.
        """

    @abstractmethod
    def remove_videos(self, contents: Sequence[str]) -> None:
        """Remove features.

        Args:
            contents: Their hashes.
        """

    @abstractmethod
    def list_files(self) -> Iterable[FileEntry]:
        """All entries, unreadable files included."""

    @abstractmethod
    def list_contents(self) -> set[str]:
        """Hashes of all contents that have features."""

    @abstractmethod
    def find_files(self, contents: Sequence[str]) -> list[FileEntry]:
        """Entries of some contents.

        Args:
            contents: Hashes.

        Returns:
            Readable entries, in any order.
        """

    @abstractmethod
    def find_entry(self, key: str) -> FileEntry | None:
        """The entry with a key.

        Args:
            key: Of a :class:`FileEntry`.

        Returns:
            The entry, or None.
        """

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

    @abstractmethod
    def read_videos(self, contents: Sequence[str]) -> StoredVideos:
        """Features of some contents.

        Args:
            contents: Hashes; unknown ones are left out.

        Returns:
            The features, in the order of ``contents``.
        """

    def read_file(self, file: FileEntry) -> StoredVideos:
        """Features of a file if it is as it was when it was indexed.

        Args:
            file: What the file system tells of it now.

        Returns:
            Its features, or those of no video.
        """
        entry = self.find_entry(file.key)
        facts = ('size', 'changed')
        if entry is None or any(
            getattr(entry, fact) != getattr(file, fact) for fact in facts
        ):
            return self.read_videos([])
        return self.read_videos([entry.content])

    @abstractmethod
    def count_videos(self) -> int:
        """Number of contents."""

    @abstractmethod
    def lock(self) -> AbstractContextManager:
        """Keep other processes from indexing into the same place.

        Returns:
            Holds the lock while it is entered.

        Raises:
            SetupError: On entering, if another process holds it.
        """

    @abstractmethod
    def refresh(self) -> None:
        """See what other processes have written meanwhile."""

    @abstractmethod
    def tidy(self) -> None:
        """Make searching fast after many changes.

        A content that two processes added at once is there once afterwards.
        """


def require_at_least(least: int, **numbers: int) -> None:
    """Refuse numbers that are too small, before anything is written.

    Args:
        least: The smallest that makes sense.
        **numbers: Arguments by name.

    Raises:
        SetupError: One is smaller; names it.

    Example:
        >>> require_at_least(1, top_k=10, candidates=100)
    """
    for name, number in numbers.items():
        if number < least:
            raise SetupError(f'{name} must be at least {least}, got {number}')


def part_vectors(
    pooled: np.ndarray, tokens: np.ndarray, count: int
) -> np.ndarray:
    """Pool a video in several parts, one after the other in time.

    A caption often tells of a part of a video only. Its vector is then near
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


LITE = 'milvus:'
CLUSTERS = ('http', 'https')
OBJECT_STORES = ('s3', 'gs', 'az')
DATABASE = 'db='


def without_secrets(url: str) -> str:
    """Write the address of an index so that everybody may read it.

    Args:
        url: A folder or an address.

    Returns:
        The same without user, password, token and other options; the
        database stays, without which the index is not found. Where it cannot
        be told what is secret, the kind of the address alone.

    Examples:
        >>> without_secrets('https://ann:pass@host/clips?token=abc&db=films')
        'https://host/clips?db=films'
        >>> without_secrets('https://ann:pa/ss@host/clips')
        'https://...'
    """
    scheme, separator, _ = url.partition('://')
    if not separator:
        return url
    if is_misread(url):
        return f'{scheme}://...'
    parts = urlsplit(url)
    host = parts.netloc.rpartition('@')[2]
    options = parts.query.split('&')
    shown = '&'.join(each for each in options if each.startswith(DATABASE))
    return urlunsplit((parts.scheme, host, parts.path, shown, ''))


def is_misread(url: str) -> bool:
    """Whether parts of a secret may be taken for something else.

    Args:
        url: An address with a scheme.

    Returns:
        True where an ``@`` stands behind the host, as after a password with
        a slash in it, where something follows a ``#``, and where it is no
        address at all. Names in object stores may have an ``@``.

    Example:
        >>> is_misread('https://ann:pa%2Fss@host/clips')
        False
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return True
    if parts.scheme in OBJECT_STORES:
        return False
    return '@' in parts.path + parts.query or bool(parts.fragment)


PRECISIONS = ('float16', 'int8')
DEFAULT_PRECISION = PRECISIONS[0]
LARGEST = 127
SCALE = np.dtype('<f2')


def pack_tokens(tokens: np.ndarray, precision: str) -> bytes:
    """Turn the tokens of one video into bytes.

    Args:
        tokens: Shape (T, D), floating point.
        precision: ``'float16'``: 2 D bytes a token. ``'int8'``: D + 2 bytes,
            each token divided by the largest of its numbers.

    Returns:
        The bytes, little endian.
    """
    if precision == 'float16':
        return tokens.astype('<f2').tobytes()
    # Rounded up: a scale rounded down would carry the largest past 127.
    scale = np.abs(tokens).max(axis=1, keepdims=True, initial=0) / LARGEST
    stored = np.nextafter(scale.astype(SCALE), SCALE.type(np.inf))
    whole = np.rint(tokens / stored.astype(np.float32)).astype(np.int8)
    return stored.tobytes() + whole.tobytes()


def unpack_tokens(packed: bytes, width: int, precision: str) -> np.ndarray:
    """Turn bytes into the tokens of one video.

    Args:
        packed: What :func:`pack_tokens` returned.
        width: D.
        precision: As they were packed.

    Returns:
        Shape (T, D), float32.
    """
    if precision == 'float16':
        return np.frombuffer(packed, '<f2').reshape(-1, width).astype('f4')
    count = len(packed) // (width + SCALE.itemsize)
    scale = np.frombuffer(packed, SCALE, count).astype(np.float32)
    whole = np.frombuffer(packed, np.int8, offset=count * SCALE.itemsize)
    return whole.reshape(count, width) * scale[:, None]
