"""The process that adds to a tar file of cached frames."""

from collections.abc import Sequence
from pathlib import Path

import xxhash
from filelock import FileLock, Timeout

from mmtvr.video.cache.records import write_all
from mmtvr.video.cache.shard import (
    BLOCK,
    Member,
    Place,
    file_index,
    frame_index,
    padded,
    read_places,
)


class ShardWriter:
    """Adds entries to one tar file that no living process of the host writes.

    Entry first, then its record in the index: what the index names is whole.
    A file whose writer ended, in whatever way, is taken over behind its last
    whole entry, so there are never more files than there were writers at one
    time.

    The lock only keeps files few. Where a file system grants it twice, entries
    get overwritten, which their checksums show: they are lost, never mixed up.

    Args:
        folder: Folder of the cache.
        host: Name of the machine; the files of others are left alone.

    Raises:
        OSError: If nothing can be written there.
    """

    def __init__(self, folder: Path, host: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path, self._lock = _claim(folder, host)
        self._frames = frame_index(self.path)
        self._files = file_index(self.path)
        places = read_places(self.path, frame_index(self.path))
        self._end = max((place.end for _, place in places), default=0)
        self._frames_file = self._frames.open_to_append()
        self._files_file = self._files.open_to_append()
        self.path.touch()
        self._tar = self.path.open('r+b', buffering=0)
        # What a killed writer left behind its last entry.
        self._tar.truncate(self._end)

    def add_entry(self, key: bytes, members: Sequence[Member]) -> None:
        """Add an entry, or leave everything as it was.

        Args:
            key: Its key.
            members: Its files; the last are the facts.

        Raises:
            OSError: As when the disk is full.
        """
        start = self._end
        self._tar.seek(start)
        try:
            for member in members:
                self._write_member(key, member)
            place = self._place(start, members[-1])
            self._frames.append(self._frames_file, place.pack(key))
        except OSError:
            self._tar.truncate(start)
            raise
        self._end = place.end

    def add_file(self, identity: bytes, digest: bytes) -> None:
        """Remember the content of a video file.

        Args:
            identity: Key of the file as it is now.
            digest: Digest of its content.

        Raises:
            OSError: As when the disk is full.
        """
        self._files.append(self._files_file, identity + digest)

    def close(self) -> None:
        """Let another process add to the file."""
        for file in (self._tar, self._frames_file, self._files_file):
            file.close()
        self._lock.release()

    def _write_member(self, key: bytes, member: Member) -> None:
        write_all(self._tar, member.header(key))
        for chunk in member.chunks:
            write_all(self._tar, chunk)
        write_all(self._tar, bytes(-member.size % BLOCK))

    def _place(self, start: int, facts: Member) -> Place:
        begin = self._tar.tell() - padded(facts.size)
        check = xxhash.xxh3_64_intdigest(b''.join(facts.chunks))
        return Place(self.path, start, begin, facts.size, check)


def _claim(folder: Path, host: str) -> tuple[Path, FileLock]:
    """Find or begin a tar file that no process holds."""
    number = 0
    while True:
        path = folder / f'{host}-{number:03d}.tar'
        lock = FileLock(path.with_suffix('.lock'), timeout=0)
        try:
            lock.acquire()
        except Timeout:
            number += 1
        else:
            return path, lock
