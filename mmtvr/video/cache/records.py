"""Append-only files of short records, each with a checksum."""

from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import xxhash

CHECK_BYTES = 8


class RecordLog:
    """What one process appends to a file and any process reads.

    A record counts once it is there in full and its checksum holds, so a
    reader may look while it is written and after a kill at any moment. What
    is there in full is never changed.

    Args:
        path: The file; it need not exist.
        body_bytes: Length of a record without its checksum.
    """

    def __init__(self, path: Path, body_bytes: int) -> None:
        self.path = path
        self.record_bytes = body_bytes + CHECK_BYTES
        self._seen = 0

    def read_new(self) -> Iterator[bytes]:
        """Read what was appended since the last call.

        Yields:
            The bodies of whole records; damaged ones are passed over.
        """
        try:
            with self.path.open('rb') as file:
                content = self._read_rest(file)
        except FileNotFoundError:
            return
        whole = len(content) // self.record_bytes * self.record_bytes
        self._seen += whole
        for start in range(0, whole, self.record_bytes):
            end = start + self.record_bytes
            body = content[start : end - CHECK_BYTES]
            if content[end - CHECK_BYTES : end] == _check(body):
                yield body

    def open_to_append(self) -> IO[bytes]:
        """Open the file behind its last whole record.

        Returns:
            The file for :meth:`append`, without a buffer.
        """
        self.path.touch()
        file = self.path.open('r+b', buffering=0)
        end = file.seek(0, 2)
        end -= end % self.record_bytes
        file.truncate(end)
        file.seek(end)
        return file

    def append(self, file: IO[bytes], body: bytes) -> None:
        """Add one record, or leave the file as it was.

        Args:
            file: From :meth:`open_to_append`.
            body: The record without its checksum.

        Raises:
            OSError: As when the disk is full.
        """
        start = file.tell()
        try:
            write_all(file, body + _check(body))
        except BaseException:
            file.truncate(start)
            file.seek(start)
            raise

    def _read_rest(self, file: IO[bytes]) -> bytes:
        # Shorter than before: someone began the file anew.
        if file.seek(0, 2) < self._seen:
            self._seen = 0
        file.seek(self._seen)
        return file.read()


def write_all(file: IO[bytes], content: bytes | np.ndarray) -> None:
    """Write to an unbuffered file, which may take a part at a time.

    Args:
        file: Opened with ``buffering=0``.
        content: What to write.

    Raises:
        OSError: As when the disk is full.
    """
    rest = memoryview(content).cast('B')
    while rest:
        rest = rest[file.write(rest) :]


def _check(body: bytes) -> bytes:
    return xxhash.xxh3_64_digest(body)
