"""The files of an index, by keys that say nothing of their paths."""

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from mmtvr.files import FileStamp
from mmtvr.search.query import SearchResult
from mmtvr.search.stores.base import FileEntry, StoredVideos, VideoStore
from mmtvr.serve.requests import ChangedFileError, NotIndexedError

KEY = re.compile('[0-9a-f]{32}')
FRESH = '(`mmtvr index` brings the index up to date)'
# A named pipe would wait for a writer for ever.
READ = os.O_RDONLY | getattr(os, 'O_NONBLOCK', 0) | getattr(os, 'O_BINARY', 0)


class Library:
    """Look up and open what an index holds, and nothing else.

    Files are found by the key of their entry. A path never comes from
    outside, and what is opened must be, by size and times of modification and
    of status change, the very file that was indexed: a link that was changed
    since is not followed.

    Args:
        store: The index.
        tokens_per_frame: How many tokens in a row are of one frame.
    """

    def __init__(self, store: VideoStore, tokens_per_frame: int = 1) -> None:
        self.store = store
        self.tokens_per_frame = tokens_per_frame

    def find(self, key: str) -> FileEntry:
        """The entry of a readable video, by its key.

        Raises:
            NotIndexedError: There is none.
        """
        entry = self.store.find_entry(key) if KEY.fullmatch(key) else None
        if entry is None or entry.error is not None:
            raise NotIndexedError
        return entry

    def open(self, entry: FileEntry) -> tuple[BinaryIO, os.stat_result]:
        """Open the file of an entry; also what ``fstat`` says of it.

        Raises:
            ChangedFileError: It is not there, or not as it was indexed.
        """
        name = display_name(entry)
        try:
            file = open(os.open(entry.path, READ), 'rb')  # noqa: SIM115
        except (OSError, ValueError) as error:
            raise ChangedFileError(
                f'{name} cannot be opened any more {FRESH}.'
            ) from error
        status = os.fstat(file.fileno())
        stamp = FileStamp.of(status)
        known = (entry.size, tuple(entry.changed))
        if (
            not stat.S_ISREG(status.st_mode)
            or (stamp.size, stamp.times) != known
        ):
            file.close()
            raise ChangedFileError(
                f'{name} has changed since it was indexed {FRESH}.'
            )
        return file, status

    @contextmanager
    def unchanged(self, entry: FileEntry) -> Iterator[str]:
        """Let a reader that opens paths itself read the file of an entry.

        Yields:
            The path.

        Raises:
            ChangedFileError: It is not as it was indexed, before or
                afterwards.
        """
        self.open(entry)[0].close()
        yield entry.path
        self.open(entry)[0].close()

    def features(self, entry: FileEntry) -> StoredVideos:
        """The features of an entry: of the whole, then of its windows.

        Raises:
            NotIndexedError: The index has none of this file.
        """
        videos = self.store.read_videos(entry.contents)
        if not videos.contents:
            raise NotIndexedError
        return videos

    def times(self, entry: FileEntry) -> np.ndarray:
        """Seconds of the frames that the index knows, ascending.

        Returns:
            Shape (T,); (1,) zero where it knows none.
        """
        times = np.unique(np.concatenate(self.features(entry).times))
        return times if len(times) else np.zeros(1, np.float32)

    def times_together(
        self, entry: FileEntry, time: float | None
    ) -> np.ndarray:
        """Seconds of the frames that the model saw together.

        Args:
            entry: The video.
            time: Of a long one, of the window that begins nearest to this
                time; None for the whole.

        Returns:
            As :meth:`times`.
        """
        rows = [each for each in self.features(entry).times if len(each)]
        if not rows:
            return np.zeros(1, np.float32)
        first = rows[0][0] if time is None else time
        row = min(rows, key=lambda each: abs(each[0] - first))
        return row[:: self.tokens_per_frame]

    def some(self, count: int) -> list[FileEntry]:
        """A few readable entries of different content."""
        found: dict[str, FileEntry] = {}
        for entry in self.store.list_files():
            if entry.error is None and len(found) < count:
                found.setdefault(entry.content, entry)
        return list(found.values())

    def unreadable(self) -> list[FileEntry]:
        """The entries of files that could not be read, by name."""
        failed = (e for e in self.store.list_files() if e.error is not None)
        return sorted(failed, key=lambda entry: entry.path)


def display_name(file: FileEntry | SearchResult) -> str:
    """Name a file for people: its path below the folder that was indexed.

    Returns:
        Valid text, whatever bytes the file system has.
    """
    path = file.path
    if os.path.isdir(file.source) and path.startswith(
        file.source.rstrip(os.sep) + os.sep
    ):
        path = os.path.relpath(path, file.source)
    else:
        path = Path(path).name
    return os.fsencode(path).decode('utf-8', 'replace')
