"""What an index holds: files, and the features of what they show."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from typing import NamedTuple

import numpy as np

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
