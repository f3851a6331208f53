"""Results of encoding that wait to be committed."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from mmtvr.search.encoder import EncodedVideo
from mmtvr.search.records import FileEntry, StoredVideos
from mmtvr.search.store import VideoStore

VIDEOS_PER_COMMIT = 512
SECONDS_PER_COMMIT = 10.0


class PendingBatch:
    """Results that are committed every few seconds.

    Args:
        store: The index.
        known: Contents that have features.
        broken: Contents that are known to be unreadable, and why.

    Attributes:
        encoded: Contents that were added.
        reused: Files whose content had features.
        skipped: Files whose content is known to be unreadable.
    """

    def __init__(
        self, store: VideoStore, known: set[str], broken: Mapping[str, str]
    ) -> None:
        self.store = store
        self.known = known
        self.broken = broken
        self.encoded = self.reused = self.skipped = 0
        self._entries: list[FileEntry] = []
        self._results: list[EncodedVideo] = []
        self._last = time.monotonic()

    def add(self, entry: FileEntry, result: EncodedVideo) -> None:
        """Take a result, and commit if there are enough.

        Args:
            entry: The file.
            result: What it was encoded to.
        """
        content, error = result.content, result.error
        if content in self.known:
            self.reused += 1
            error = None
        elif result.features is not None:
            self.known.add(content)
            self._results.append(result)
        elif error is None:
            self.skipped += 1
            error = self.broken[content]
        changes = dict(content=content, broken='')
        if error is not None:
            changes = dict(content='', broken=content)
        self._entries.append(replace(entry, error=error, **changes))
        waited = time.monotonic() - self._last > SECONDS_PER_COMMIT
        if waited or len(self._entries) >= VIDEOS_PER_COMMIT:
            self.commit()

    def commit(self) -> None:
        """Write features first: a file in the index always has features."""
        if self._results:
            self.store.add_videos(_stack(self._results))
        if self._entries:
            self.store.put_files(self._entries)
        self.encoded += len(self._results)
        self._entries, self._results = [], []
        self._last = time.monotonic()


def _stack(results: Sequence[EncodedVideo]) -> StoredVideos:
    features = [result.features for result in results]
    return StoredVideos(
        [result.content for result in results],
        np.stack([each.pooled for each in features]),
        [each.tokens for each in features],
        [each.times for each in features],
    )
