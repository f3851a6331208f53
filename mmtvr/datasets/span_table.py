"""Character spans of many captions in a few arrays."""

import hashlib
import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

Span = tuple[int, int]


def hash_caption(caption: str) -> int:
    """Hash a caption, the same in every process and run.

    Args:
        caption: Any text.

    Returns:
        64 bits. Among a million captions two differing ones collide with a
        probability of 3e-8.
    """
    data = caption.encode('utf-8', 'surrogatepass')
    digest = hashlib.blake2b(data, digest_size=8).digest()
    return int.from_bytes(digest, 'little')


class SpanTable:
    """Spans by caption, as three arrays.

    Workers get arrays at no cost when they are forked and quickly when they
    are spawned; a dict of 180,000 lists of tuples would be copied into each.

    Args:
        keys: Shape (n,), uint64, ascending hashes of the captions.
        bounds: Shape (n + 1,), int64. Caption i has spans[bounds[i] :
            bounds[i + 1]].
        spans: Shape (m, 2), int32, start and end in characters.
    """

    def __init__(
        self, keys: np.ndarray, bounds: np.ndarray, spans: np.ndarray
    ) -> None:
        self.keys = keys
        self.bounds = bounds
        self.spans = spans

    @classmethod
    def build(
        cls, captions: Sequence[str], spans: Iterable[list[Span]]
    ) -> 'SpanTable':
        """Make a table.

        Args:
            captions: Distinct captions.
            spans: The spans of each.

        Returns:
            The table.
        """
        spans = list(spans)
        keys = np.array([hash_caption(text) for text in captions], np.uint64)
        order = np.argsort(keys)
        counts = [len(spans[row]) for row in order]
        flat = [span for row in order for span in spans[row]]
        return cls(
            keys[order],
            np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            np.array(flat, dtype=np.int32).reshape(-1, 2),
        )

    def __len__(self) -> int:
        """Number of captions."""
        return len(self.keys)

    def get(self, caption: str) -> list[Span] | None:
        """Look a caption up.

        Args:
            caption: Any text.

        Returns:
            Its spans, or None if the table does not know it.
        """
        key = np.uint64(hash_caption(caption))
        row = int(np.searchsorted(self.keys, key))
        if row == len(self.keys) or self.keys[row] != key:
            return None
        rows = self.spans[self.bounds[row] : self.bounds[row + 1]]
        return [(start, end) for start, end in rows.tolist()]

    def save(self, path: Path) -> None:
        """Write the table; a reader sees the whole file or none.

        Args:
            path: An .npz file.
        """
        handle, part = tempfile.mkstemp(dir=path.parent, suffix='.part')
        try:
            with os.fdopen(handle, 'wb') as file:
                np.savez_compressed(
                    file, keys=self.keys, bounds=self.bounds, spans=self.spans
                )
            os.replace(part, path)
        except BaseException:
            os.unlink(part)
            raise

    @classmethod
    def load(cls, path: Path) -> 'SpanTable':
        """Read a table.

        Args:
            path: What :meth:`save` wrote.

        Returns:
            The table.

        Raises:
            ValueError: If the file holds no table.
            OSError: If it cannot be read.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                table = cls(file['keys'], file['bounds'], file['spans'])
        except OSError:
            raise
        except Exception as error:
            raise ValueError(f'{path} holds no span table') from error
        sizes = len(table.keys) + 1, (int(table.bounds[-1]), 2)
        if (len(table.bounds), table.spans.shape) != sizes:
            raise ValueError(f'{path} holds a span table that is not whole')
        return table
