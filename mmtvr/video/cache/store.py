"""All tar files of a cache folder, of all machines that write to it."""

import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

from mmtvr.video.cache.records import RecordLog
from mmtvr.video.cache.shard import (
    KEY_BYTES,
    Member,
    Place,
    Shard,
    file_index,
    frame_index,
    read_places,
)
from mmtvr.video.cache.shard_writer import ShardWriter


class FrameStore:
    """Entries by key, in few large tar files, one per writing process.

    Writers share nothing: no lock that must hold, no memory, no mapped file.
    So it works on network file systems too, where other machines see an entry
    as soon as they see its record. A copy made by a fork opens files of its
    own to write; a pickled one holds only the options.

    The files are shards in the layout of WebDataset: any tool that reads tar,
    JSON, npy and JPEG reads them.

    Args:
        folder: Where the files are; created when the first entry is added.
        host: Name of this machine and user in the names of the files it
            writes.
    """

    def __init__(self, folder: Path, host: str | None = None) -> None:
        self.folder = Path(folder)
        self.host = host or f'{socket.gethostname()}-{os.getuid()}'
        self._forget()

    def find(self, key: bytes) -> Iterator[tuple[Shard, Place]]:
        """Look for an entry, on disk if it is not known yet.

        Args:
            key: Its key.

        Yields:
            Where it lies; several times if several processes made it.
        """
        if not self._places.get(key):
            self.refresh()
        for place in self._places.get(key, ()):
            shard = self._open(place.path)
            if shard is not None:
                yield shard, place

    def drop(self, key: bytes, place: Place) -> None:
        """Look no more at a place that does not hold what it should.

        Args:
            key: Key of the entry.
            place: From :meth:`find`.
        """
        self._places[key] = [
            each for each in self._places[key] if each != place
        ]

    def find_digest(self, identity: bytes) -> bytes | None:
        """Look up the content of a video file.

        Args:
            identity: See :func:`file_identity`.

        Returns:
            Its digest, or None if it is not known.
        """
        if identity not in self._digests:
            self.refresh()
        return self._digests.get(identity)

    def add(self, key: bytes, members: Sequence[Member]) -> None:
        """Add an entry.

        Args:
            key: Its key.
            members: Its files; the last are the facts.

        Raises:
            OSError: As when the disk is full.
        """
        self._get_writer().add_entry(key, members)

    def add_digest(self, identity: bytes, digest: bytes) -> None:
        """Remember the content of a video file.

        Args:
            identity: See :func:`file_identity`.
            digest: Digest of its content.

        Raises:
            OSError: As when the disk is full.
        """
        self._digests[identity] = digest
        self._get_writer().add_file(identity, digest)

    def refresh(self) -> None:
        """Read what was added to the indexes since the last look."""
        for tar in sorted(self.folder.glob('*.tar')):
            if tar not in self._logs:
                self._logs[tar] = frame_index(tar), file_index(tar)
            frames, files = self._logs[tar]
            for key, place in read_places(tar, frames):
                self._places.setdefault(key, []).append(place)
            for body in files.read_new():
                self._digests[body[:KEY_BYTES]] = body[KEY_BYTES:]

    def list_keys(self) -> list[bytes]:
        """List the entries that are known so far.

        Returns:
            Their keys.
        """
        return list(self._places)

    def used_bytes(self) -> int:
        """Size of all files of the cache.

        Returns:
            Bytes.
        """
        return sum(each.stat().st_size for each in self.folder.glob('*.tar'))

    def close(self) -> None:
        """Let go of all files; they are opened again when needed."""
        if self._writer is not None and self._writer_pid == os.getpid():
            self._writer.close()
        self._forget()

    def _forget(self) -> None:
        self._places: dict[bytes, list[Place]] = {}
        self._digests: dict[bytes, bytes] = {}
        self._logs: dict[Path, tuple[RecordLog, RecordLog]] = {}
        self._shards: dict[Path, Shard] = {}
        self._writer: ShardWriter | None = None
        self._writer_pid = 0

    def _get_writer(self) -> ShardWriter:
        # Of a fork, parent and child must not write to the same file.
        if self._writer is None or self._writer_pid != os.getpid():
            self._writer = ShardWriter(self.folder, self.host)
            self._writer_pid = os.getpid()
        return self._writer

    def _open(self, path: Path) -> Shard | None:
        if path not in self._shards:
            try:
                self._shards[path] = Shard(path)
            except OSError:
                return None
        return self._shards[path]

    def __getstate__(self) -> dict:
        return dict(folder=self.folder, host=self.host)

    def __setstate__(self, state: dict) -> None:
        self.__init__(**state)
