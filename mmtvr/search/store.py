"""What an index needs of the engine that holds it."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager

import numpy as np

from mmtvr.search.records import FileEntry, StoredVideos


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
