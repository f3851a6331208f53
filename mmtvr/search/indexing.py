"""Bring an index up to date with the files."""

import time
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_reduce, barrier, get_rank, get_world_size
from tqdm import tqdm

from mmtvr.search.encoder import EncodedVideo, RetrievalEncoder
from mmtvr.search.file_changes import (
    describe_file,
    find_gone,
    is_unchanged,
)
from mmtvr.search.identity import check_model
from mmtvr.search.results import IndexReport
from mmtvr.search.store import FileEntry, StoredVideos, VideoStore
from mmtvr.search.video_files import FoundVideo, Sources

VIDEOS_PER_COMMIT = 512
SECONDS_PER_COMMIT = 10.0


def prepare_index(store: VideoStore, about: dict[str, Any]) -> None:
    """Make an index if there is none, or check that it is of this model.

    Args:
        store: Where the index is or will be.
        about: Facts about the model and, for a new index, its settings.

    Raises:
        SetupError: Another model filled it.
    """
    if get_rank() == 0 and store.read_about() is None:
        store.write_about(about)
    barrier()
    check_model(store.read_about(), about, store.url)


class Indexer:
    """One pass over files: encode what is new, forget what is gone.

    A file whose size and times are as recorded is not touched; any other one
    is hashed, and encoded only if no file had that content before. What is
    encoded is committed every few seconds, so that a process that is killed
    loses no more, and the next pass goes on where it was. With several
    processes each takes a fixed share of the paths.

    Args:
        store: Where the index is.
        encoder: The model.
        workers: Processes that read videos; 0 for this one.
        progress: Whether to show a bar.
    """

    def __init__(
        self,
        store: VideoStore,
        encoder: RetrievalEncoder,
        workers: int = 0,
        progress: bool = True,
    ) -> None:
        self.store = store
        self.encoder = encoder
        self.workers = workers
        self.progress = progress

    def run(self, sources: Sources) -> IndexReport:
        """Index the files of some sources.

        Args:
            sources: What :func:`find_videos` found.

        Returns:
            What was done, by all processes together.

        Raises:
            SetupError: Folders that had videos have none at all now, or
                another process is indexing into the same place.
        """
        start = time.monotonic()
        with self.store.lock() if get_rank() == 0 else nullcontext():
            barrier()
            entries = {each.key: each for each in self.store.list_files()}
            gone = find_gone(entries.values(), sources)
            pending, unchanged = self._find_pending(entries, sources.videos)
            batch = self._encode(pending)
            counts = torch.tensor([batch.encoded, batch.reused, unchanged])
            all_reduce(counts)
            if get_rank() == 0:
                self.store.refresh()
                remove_files(self.store, gone)
                self.store.tidy()
            barrier()
        self.store.refresh()
        files = list(self.store.list_files())
        broken = {e.path: e.error for e in files if e.error is not None}
        encoded, reused, unchanged = counts.tolist()
        return IndexReport(
            videos=len(files) - sum(e.error is not None for e in files),
            encoded=encoded,
            reused=reused,
            unchanged=unchanged,
            removed=len(gone),
            unreadable={**sources.closed, **broken},
            seconds=time.monotonic() - start,
        )

    def _find_pending(
        self, entries: dict[str, FileEntry], videos: Sequence[FoundVideo]
    ) -> tuple[list[tuple[FoundVideo, FileEntry]], int]:
        """Find the share of this process that is not as it was."""
        pending, unchanged = [], 0
        for video in videos:
            entry = describe_file(video)
            if int(entry.key, 16) % get_world_size() != get_rank():
                continue
            before = entries.get(entry.key)
            if before is not None and is_unchanged(before, entry):
                unchanged += 1
            else:
                pending.append((video, entry))
        return pending, unchanged

    def _encode(self, pending: list[tuple[FoundVideo, FileEntry]]) -> '_Batch':
        known = self.store.list_contents()
        results = self.encoder.encode_videos(
            [video for video, _ in pending], self.workers, frozenset(known)
        )
        title = 'Indexing'
        if get_world_size() > 1:
            title = f'Indexing, share of one of {get_world_size()} processes'
        bar = tqdm(
            zip(pending, results, strict=True),
            title,
            len(pending),
            unit='video',
            disable=not self.progress or get_rank() > 0,
        )
        batch = _Batch(self.store, known)
        try:
            for (_, entry), result in bar:
                batch.add(entry, result)
        finally:
            # Also when stopped from the keyboard.
            batch.commit()
        return batch


def remove_files(store: VideoStore, entries: Sequence[FileEntry]) -> None:
    """Take files out of an index, and features that no file has any more.

    Args:
        store: The index.
        entries: The files.
    """
    store.remove_files([entry.key for entry in entries])
    named = {entry.content for entry in store.list_files()}
    store.remove_videos(sorted(store.list_contents() - named))


class _Batch:
    """Results that are not yet committed."""

    def __init__(self, store: VideoStore, known: set[str]) -> None:
        self.store = store
        self.known = known
        self.entries: list[FileEntry] = []
        self.results: list[EncodedVideo] = []
        self.encoded = self.reused = 0
        self.last = time.monotonic()

    def add(self, entry: FileEntry, result: EncodedVideo) -> None:
        changes = dict(content=result.content, error=result.error)
        self.entries.append(FileEntry(**{**vars(entry), **changes}))
        if result.content in self.known:
            self.reused += 1
        elif result.features is not None:
            self.known.add(result.content)
            self.results.append(result)
        waited = time.monotonic() - self.last > SECONDS_PER_COMMIT
        if waited or len(self.entries) >= VIDEOS_PER_COMMIT:
            self.commit()

    def commit(self) -> None:
        """Features first: a file in the index always has features."""
        if self.results:
            self.store.add_videos(_stack(self.results))
        if self.entries:
            self.store.put_files(self.entries)
        self.encoded += len(self.results)
        self.entries, self.results = [], []
        self.last = time.monotonic()


def _stack(results: Sequence[EncodedVideo]) -> StoredVideos:
    features = [result.features for result in results]
    return StoredVideos(
        [result.content for result in results],
        np.stack([each.pooled for each in features]),
        [each.tokens for each in features],
        [each.times for each in features],
    )
