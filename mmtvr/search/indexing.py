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
from mmtvr.search.metadata import (
    MetadataReport,
    MetadataTable,
    MetadataWriter,
)
from mmtvr.search.progress import ProgressFile
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
    find_moved,
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
        info: Facts of an index that is made before the first features are
            written; None where there is one.
        metadata: Writes columns and texts of files.

    Attributes:
        info: None once there is an index.
        unreadable: Files that could not be read, and why.
        encoded: Contents that were added.
        reused: Files whose content had features.
        skipped: Files whose content is known to be unreadable.
        durations: Seconds, by content, where they are known.
    """

    def __init__(
        self,
        store: VideoStore,
        known: set[str],
        broken: Mapping[str, str],
        info: dict[str, Any] | None = None,
        metadata: MetadataWriter | None = None,
    ) -> None:
        self.store = store
        self.info = info
        self.metadata = metadata or MetadataWriter(store)
        self.unreadable: dict[str, str] = {}
        self.known = known
        self.broken = broken
        self.durations: dict[str, float] = {}
        self.encoded = self.reused = self.skipped = 0
        self._entries: list[FileEntry] = []
        self._results: list[EncodedVideo] = []
        self._last = time.monotonic()

    def add(self, entry: FileEntry, result: EncodedVideo) -> None:
        """Take what a file was encoded to, and commit if there is enough."""
        content, error = result.content, result.error
        duration = result.duration
        if content in self.known:
            self.reused += 1
            error = None
            # A copy is not read.
            duration = self.durations.get(content)
        elif result.features is not None:
            self.known.add(content)
            if duration is not None:
                self.durations[content] = duration
            self._results.append(result)
        elif error is None:
            self.skipped += 1
            error = self.broken[content]
        changes: dict[str, Any] = dict(
            content=content, broken='', duration=duration
        )
        if error is not None:
            changes = dict(content='', broken=content, duration=None)
            self.unreadable[entry.path] = error
        self._entries.append(replace(entry, error=error, **changes))
        waited = time.monotonic() - self._last > SECONDS_PER_COMMIT
        if waited or len(self._entries) >= VIDEOS_PER_COMMIT:
            self.commit()

    def commit(self) -> None:
        """Write features first: a file in the index always has features."""
        self._last = time.monotonic()
        if self.info is not None and self._results:
            self.store.create(self.info)
            self.info = None
            self.metadata.begin()
        if self.info is not None:
            # Nothing could be read yet: there is no index, and none is made.
            return
        if self._results:
            self.store.add_videos(_stack(self._results))
        if self._entries:
            self.store.put_files(self._entries)
            self.metadata.update(self._entries)
        self.encoded += len(self._results)
        self._entries, self._results = [], []


def _stack(results: Sequence[EncodedVideo]) -> StoredVideos:
    features = [result.features for result in results]
    return StoredVideos(
        [result.content for result in results],
        np.stack([each.pooled for each in features]),
        [each.tokens for each in features],
        [each.times for each in features],
    )


def needs_new_index(
    store: VideoStore,
    info: dict[str, Any],
    asked: Mapping[str, Any] | None = None,
) -> bool:
    """Whether an index is to be made, before anything is written.

    Args:
        store: Where the index is or will be.
        info: Facts about the model and, for a new index, its settings.
        asked: Settings that an index that is there must have; None as a value
            takes any.

    Returns:
        True where there is none, or one without videos that is of another
        model or has other settings.

    Raises:
        SetupError: Another model filled it, it has other settings, or a
            video is to have no part.
    """
    require_at_least(1, parts=info['parts'])
    there = store.read_info()
    if there is None:
        return True
    try:
        check_model(there, info, store.url)
        for name, value in (asked or {}).items():
            if value is not None and value != there[name]:
                raise SetupError(
                    f'{store.url} was made with {name} {there[name]}, which '
                    f'stays as it is: leave {name} {value} out, or index into '
                    'another place'
                )
    except SetupError:
        if store.count_files() or store.count_videos():
            raise
        return True
    return False


class Indexer:
    """One pass over files: encode what is new, forget what is gone.

    A file whose size and times are as recorded is not touched; any other one
    is hashed, and encoded only if no file had that content before. What is
    encoded is committed every few seconds, so that a process that is killed
    loses no more, and the next pass goes on where it was. With several
    processes each takes a fixed share of the paths.

    Where there is no index, it is made when the first videos are encoded; with
    several processes, before that.

    Args:
        store: Where the index is or will be.
        encoder: The model.
        info: Facts about the model and the settings of a new index.
        asked: Settings that an index that is there must have; None as a value
            takes any.
        workers: Processes that read videos; 0 for this one.
        progress: Whether to show a bar.
        retry: Whether to try again what could not be decoded before.
        table: Columns of the videos that the user gives.

    Raises:
        SetupError: There are to be fewer workers than none.
    """

    def __init__(
        self,
        store: VideoStore,
        encoder: RetrievalEncoder,
        info: dict[str, Any],
        asked: Mapping[str, Any] | None = None,
        workers: int = 0,
        progress: bool = True,
        retry: bool = False,
        table: MetadataTable | None = None,
    ) -> None:
        require_at_least(0, workers=workers)
        self.store = store
        self.encoder = encoder
        self.info = info
        self.asked = asked
        self.workers = workers
        self.progress = progress
        self.retry = retry
        self.metadata = MetadataWriter(store, table)
        #: How far it is, also for another thread.
        self.progress_file = ProgressFile(store.url)

    def run(self, sources: Sources) -> IndexReport:
        """Index what :func:`find_videos` found.

        Returns:
            What was done, by all processes together.

        Raises:
            SetupError: Another model filled the index or it has other
                settings, folders that had videos have none at all now, no
                video can be encoded, or another process is indexing into the
                same place.
        """
        start = time.monotonic()
        with self.store.lock() if get_rank() == 0 else nullcontext():
            # Under the lock: another process might have made it just now.
            if get_rank() == 0:
                is_new = needs_new_index(self.store, self.info, self.asked)
                if is_new and get_world_size() > 1:
                    self.store.create(self.info)
                    is_new = False
            if get_rank() == 0 and not is_new:
                self.metadata.begin()
            barrier()
            if get_rank() > 0:
                is_new = needs_new_index(self.store, self.info, self.asked)
            before = [] if is_new else list(self.store.list_files())
            entries = {each.key: each for each in before}
            gone = find_gone(before, sources)
            known = set() if is_new else self.store.list_contents()
            broken = {} if self.retry else find_broken(before, known)
            batch = PendingBatch(
                self.store,
                known,
                broken,
                self.info if is_new else None,
                self.metadata,
            )
            batch.durations = {
                e.content: e.duration for e in before if e.duration is not None
            }
            pending, as_before = self._find_pending(
                entries, sources.videos, broken
            )
            self._encode(pending, batch)
            counts = _count(batch, as_before)
            fit = MetadataReport()
            if get_rank() == 0 and batch.info is None:
                self.store.refresh()
                now = list(self.store.list_files())
                gone += find_moved(before, now, gone)
                fit = self.metadata.finish(now, gone)
                remove_files(self.store, gone)
                self.store.compact()
            barrier()
        files, unreadable = [], batch.unreadable
        if batch.info is None:
            self.store.refresh()
            files = list(self.store.list_files())
            unreadable = {
                e.path: e.error for e in files if e.error is not None
            }
        encoded, reused, unchanged, skipped = counts
        return IndexReport(
            videos=sum(e.error is None for e in files),
            encoded=encoded,
            reused=reused,
            unchanged=unchanged,
            removed=len(gone),
            unreadable={**sources.closed, **unreadable},
            skipped=skipped,
            metadata=fit,
            unreadable_subtitles=self.metadata.subtitles.unreadable,
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
            desc=title,
            total=len(pending),
            unit='video',
            disable=not self.progress or get_rank() > 0,
        )
        pairs = enumerate(zip(pending, results, strict=True), start=1)
        if get_rank() == 0:
            self.progress_file.begin(len(pending))
        try:
            for count, ((_, entry), result) in pairs:
                batch.add(entry, result)
                if get_rank() == 0:
                    self.progress_file.add(result.error is not None)
                # They come in batches: after the first of one, the time of
                # all of it would pass for that of a single video.
                if count % self.encoder.batch_size == 0:
                    bar.update(self.encoder.batch_size)
            bar.update(len(pending) % self.encoder.batch_size)
        finally:
            bar.close()
            # Also when stopped from the keyboard.
            batch.commit()
            if get_rank() == 0:
                self.progress_file.end()


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
    keys = [entry.key for entry in entries]
    # First: what has no file must not be found by its text.
    store.remove_metadata(keys)
    store.remove_files(keys)
    named = {entry.content for entry in store.list_files()}
    store.remove_videos(sorted(store.list_contents() - named))
