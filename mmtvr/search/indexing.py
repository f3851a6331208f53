"""Bring an index up to date with the files."""

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_reduce, barrier, get_rank, get_world_size
from tqdm import tqdm

from mmtvr.errors import SetupError
from mmtvr.search.encoder import EncodedVideo, RetrievalEncoder, check_model
from mmtvr.search.query import IndexReport
from mmtvr.search.stores.base import (
    FileEntry,
    StoredVideos,
    VideoStore,
    require_at_least,
)
from mmtvr.search.video_files import (
    FoundVideo,
    Sources,
    describe_file,
    find_broken,
    find_gone,
    is_unchanged,
)

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
        """Take what a file was encoded to, and commit if there is enough."""
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


def prepare_index(
    store: VideoStore,
    info: dict[str, Any],
    asked: Mapping[str, Any] | None = None,
) -> None:
    """Make an index if there is none, or check that it is of this model.

    Args:
        store: Where the index is or will be.
        info: Facts about the model and, for a new index, its settings.
        asked: Settings that an index that is there must have; None as a value
            takes any.

    Raises:
        SetupError: Another model filled it, it has other settings, or a
            video is to have no part.
    """
    require_at_least(1, parts=info['parts'])
    if get_rank() == 0 and store.read_info() is None:
        store.create(info)
    barrier()
    there = store.read_info()
    check_model(there, info, store.url)
    for name, value in (asked or {}).items():
        if value is not None and value != there[name]:
            raise SetupError(
                f'{store.url} was made with {name} {there[name]}, which stays '
                f'as it is: leave {name} {value} out, or index into another '
                'place'
            )


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
        retry: Whether to try again what could not be decoded before.

    Raises:
        SetupError: There are to be fewer workers than none.
    """

    def __init__(
        self,
        store: VideoStore,
        encoder: RetrievalEncoder,
        workers: int = 0,
        progress: bool = True,
        retry: bool = False,
    ) -> None:
        require_at_least(0, workers=workers)
        self.store = store
        self.encoder = encoder
        self.workers = workers
        self.progress = progress
        self.retry = retry

    def run(self, sources: Sources) -> IndexReport:
        """Index what :func:`find_videos` found.

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
            known = self.store.list_contents()
            broken = {} if self.retry else find_broken(entries.values(), known)
            batch = PendingBatch(self.store, known, broken)
            pending, as_before = self._find_pending(
                entries, sources.videos, broken
            )
            self._encode(pending, batch)
            counts = _count(batch, as_before)
            if get_rank() == 0:
                self.store.refresh()
                remove_files(self.store, gone)
                self.store.compact()
            barrier()
        self.store.refresh()
        files = list(self.store.list_files())
        unreadable = {e.path: e.error for e in files if e.error is not None}
        encoded, reused, unchanged, skipped = counts
        return IndexReport(
            videos=sum(e.error is None for e in files),
            encoded=encoded,
            reused=reused,
            unchanged=unchanged,
            removed=len(gone),
            unreadable={**sources.closed, **unreadable},
            skipped=skipped,
            seconds=time.monotonic() - start,
        )

    def _find_pending(
        self,
        entries: Mapping[str, FileEntry],
        videos: Sequence[FoundVideo],
        broken: Mapping[str, str],
    ) -> tuple[list[tuple[FoundVideo, FileEntry]], list[FileEntry]]:
        """The share of this process: what is new, and what is as before."""
        pending, as_before = [], []
        for video in videos:
            entry = describe_file(video)
            if int(entry.key, 16) % get_world_size() != get_rank():
                continue
            before = entries.get(entry.key)
            if before is not None and is_unchanged(before, entry, broken):
                as_before.append(before)
            else:
                pending.append((video, entry))
        return pending, as_before

    def _encode(
        self,
        pending: Sequence[tuple[FoundVideo, FileEntry]],
        batch: PendingBatch,
    ) -> None:
        results = self.encoder.encode_videos(
            [video for video, _ in pending],
            self.workers,
            batch.known | batch.broken.keys(),
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
        try:
            for (_, entry), result in bar:
                batch.add(entry, result)
        finally:
            # Also when stopped from the keyboard.
            batch.commit()


def _count(batch: PendingBatch, as_before: Sequence[FileEntry]) -> list[int]:
    """What all processes encoded, reused, left unchanged and skipped."""
    skipped = sum(entry.error is not None for entry in as_before)
    unchanged = len(as_before) - skipped
    skipped += batch.skipped
    counts = torch.tensor([batch.encoded, batch.reused, unchanged, skipped])
    all_reduce(counts)
    return counts.tolist()


def remove_files(store: VideoStore, entries: Sequence[FileEntry]) -> None:
    """Take files out of an index, and features that no file has any more."""
    store.remove_files([entry.key for entry in entries])
    named = {entry.content for entry in store.list_files()}
    store.remove_videos(sorted(store.list_contents() - named))
