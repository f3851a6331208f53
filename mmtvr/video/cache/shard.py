"""One tar file of cached frames, and the index that says what is in it."""

import os
import struct
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xxhash

from mmtvr.video.cache.records import RecordLog

KEY_BYTES = 16
BLOCK = tarfile.BLOCKSIZE
_NUMBERS = struct.Struct('<QQQQ')


class DamagedEntryError(Exception):
    """Cached bytes that are not those that were written."""


class Member(NamedTuple):
    """One file of an entry.

    Attributes:
        suffix: What follows the key in its name, as ``'.json'``.
        chunks: Its content, to be written one behind the other.
    """

    suffix: str
    chunks: Sequence[bytes | np.ndarray]

    @property
    def size(self) -> int:
        """Number of bytes of the content."""
        return sum(memoryview(chunk).nbytes for chunk in self.chunks)

    def header(self, key: bytes) -> bytes:
        """Make the block that stands before the content in a tar file.

        Args:
            key: Key of the entry.

        Returns:
            One block.
        """
        info = tarfile.TarInfo(key.hex() + self.suffix)
        info.size = self.size
        return info.tobuf(tarfile.USTAR_FORMAT)


def padded(size: int) -> int:
    """Round up to whole blocks, as tar does.

    Args:
        size: Number of bytes.

    Returns:
        Number of bytes.
    """
    return -(-size // BLOCK) * BLOCK


def entry_bytes(members: Sequence[Member]) -> int:
    """Tell how much an entry takes.

    Args:
        members: Its files.

    Returns:
        Number of bytes.
    """
    return sum(BLOCK + padded(member.size) for member in members)


class Place(NamedTuple):
    """Where an entry lies.

    Attributes:
        path: The tar file.
        offset: Begin of the entry.
        facts_offset: Begin of its last member's content, the facts as JSON.
        facts_size: Number of bytes of that.
        facts_check: Its checksum.
    """

    path: Path
    offset: int
    facts_offset: int
    facts_size: int
    facts_check: int

    @property
    def end(self) -> int:
        """Where the next entry begins."""
        return self.facts_offset + padded(self.facts_size)

    def pack(self, key: bytes) -> bytes:
        """Make the record of an index.

        Args:
            key: Key of the entry.

        Returns:
            The body of the record.
        """
        return key + _NUMBERS.pack(*self[1:])


def frame_index(tar: Path) -> RecordLog:
    """The index beside a tar file.

    Args:
        tar: The tar file.

    Returns:
        Its log of keys and places.
    """
    return RecordLog(tar.with_suffix('.frames'), KEY_BYTES + _NUMBERS.size)


def file_index(tar: Path) -> RecordLog:
    """The log of known video files beside a tar file.

    Args:
        tar: The tar file.

    Returns:
        Its log of file identities and digests of their content.
    """
    return RecordLog(tar.with_suffix('.files'), 2 * KEY_BYTES)


def read_places(tar: Path, log: RecordLog) -> Iterator[tuple[bytes, Place]]:
    """Read what was added to an index.

    Args:
        tar: The tar file.
        log: Its index.

    Yields:
        Key and place.
    """
    for body in log.read_new():
        numbers = _NUMBERS.unpack(body[KEY_BYTES:])
        yield body[:KEY_BYTES], Place(tar, *numbers)


class Shard:
    """A tar file opened for reading.

    Args:
        path: The tar file.

    Raises:
        OSError: If it is not there.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open('rb', buffering=0)

    def read_into(self, into: np.ndarray, offset: int, check: int) -> None:
        """Fill an array with bytes that are known by their checksum.

        Safe for the processes of a fork, which share the file: the position
        in it is not used.

        Args:
            into: Array of bytes without gaps.
            offset: Where they begin.
            check: Their checksum.

        Raises:
            DamagedEntryError: If others lie there.
        """
        try:
            read = os.preadv(self._file.fileno(), [into], offset)
        except OSError as error:
            raise DamagedEntryError(str(error)) from error
        if read != into.nbytes or xxhash.xxh3_64_intdigest(into) != check:
            raise DamagedEntryError('the checksum does not hold')
