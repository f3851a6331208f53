"""Bring an index up to date with the files."""

import math
import time
import warnings
from collections.abc import Mapping, Sequence, Set
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.dist import (
    all_gather_object,
    all_reduce,
    barrier,
    get_rank,
    get_world_size,
)
from tqdm import tqdm

from mmtvr.errors import SetupError
from mmtvr.search.encoder import (
    WINDOWED_FORMAT,
    EncodedVideo,
    RetrievalEncoder,
    check_model,
)
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
    whole_content,
    window_number,
)
from mmtvr.search.video_files import (
    FoundVideo,
    Sources,
    describe_absence,
    describe_file,
    find_broken,
    find_gone,
    find_moved,
    is_unchanged,
    plan_windows,
)

VIDEOS_PER_COMMIT = 512
#: Seconds of a window of a long video.
DEFAULT_WINDOW = 60.0
SECONDS_PER_COMMIT = 10.0
# How often what an engine lists again is removed.
REMOVAL_TRIES = 3
# How often what an engine has lost is made again.
REPAIRS = 2


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
        named: Contents of the files that were taken.
        added: Contents whose features were added.
        windows: Windows of long videos that were added.
        broken_windows: Files of which windows could not be read, and why.
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
        self.named: set[str] = set()
        self.added: set[str] = set()
        self.encoded = self.reused = self.skipped = self.windows = 0
        self.broken_windows: dict[str, str] = {}
        self._windows_of: dict[str, int] = {}
        for content in known:
            self._count_window(content)
        self._entries: list[FileEntry] = []
        self._results: list[EncodedVideo] = []
        self._last = time.monotonic()

    def add(self, entry: FileEntry, result: EncodedVideo) -> None:
        """Take what a file was encoded to, and commit if there is enough."""
        content, error = result.content, result.error
        duration: float | None = result.seconds or None
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
        windows = self._windows_of.get(content, 0)
        changes: dict[str, Any] = dict(
            content=content, broken='', windows=windows, duration=duration
        )
        if error is not None:
            changes = dict(content='', broken=content, duration=None)
            self.unreadable[entry.path] = error
        else:
            self.named.add(content)
        self._entries.append(replace(entry, error=error, **changes))
        self._commit_if_due()

    def add_window(self, result: EncodedVideo) -> None:
        """Take a window, before the video itself is added.

        A video that is in the index has all of its windows: where a process
        was killed between them, the next one goes on.
        """
        if result.features is not None and result.content not in self.known:
            self.known.add(result.content)
            self._results.append(result)
        self._count_window(result.content)
        self._commit_if_due()

    def _count_window(self, content: str) -> None:
        whole = whole_content(content)
        if content != whole:
            count = 1 + window_number(content)
            self._windows_of[whole] = max(
                count, self._windows_of.get(whole, 0)
            )

    def _commit_if_due(self) -> None:
        waited = time.monotonic() - self._last > SECONDS_PER_COMMIT
        most = max(len(self._entries), len(self._results))
        if waited or most >= VIDEOS_PER_COMMIT:
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
            self.added |= {each.content for each in self._results}
        if self._entries:
            self.store.put_files(self._entries)
            self.metadata.update(self._entries)
        windows = sum(
            each.content != whole_content(each.content)
            for each in self._results
        )
        self.windows += windows
        self.encoded += len(self._results) - windows
        self._entries, self._results = [], []


def _stack(results: Sequence[EncodedVideo]) -> StoredVideos:
    features = [result.features for result in results]
    return StoredVideos(
        [result.content for result in results],
        np.stack([each.pooled for each in features]),
        [each.tokens for each in features],
        [each.times for each in features],
    )


def choose_windows(
    window: float | None, overlap: float | None
) -> dict[str, Any]:
    """Facts of a new index about windows of long videos, and its format.

    Args:
        window: Seconds; 0 for none, None for the default.
        overlap: Seconds; None for a third of the window.

    Raises:
        SetupError: They are no lengths of a window and of a part of it.

    Example:
        >>> choose_windows(30.0, None)
        {'format': 2, 'window': 30.0, 'overlap': 10.0}
    """
    window = DEFAULT_WINDOW if window is None else float(window)
    overlap = window / 3 if overlap is None else float(overlap)
    if not 0 <= window < math.inf:
        raise SetupError(f'window must be at least 0 s, got {window}')
    if window and not 0 <= overlap < window:
        raise SetupError(
            f'overlap must be at least 0 s and less than the window of '
            f'{window:g} s, got {overlap:g}'
        )
    if not window:
        return {}
    return dict(format=WINDOWED_FORMAT, window=window, overlap=overlap)


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
            # Indexes of earlier versions have no windows.
            made_with = there.get(name, 0)
            if value is not None and value != made_with:
                raise SetupError(
                    f'{store.url} was made with {name} {made_with}, which '
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

        Milvus 2.3 may lose what it has acknowledged when it is killed: what
        is not there in the end is encoded again.

        Returns:
            What was done, by all processes together.

        Raises:
            SetupError: Another model filled the index or it has other
                settings, there is no video, folders that had some have none
                at all now, no video can be encoded, or another process is
                indexing into the same place.
        """
        report, lost = self._run_pass(sources)
        for _ in range(REPAIRS):
            if not lost:
                break
            warnings.warn(
                f'{self.store.url} has lost the features of {lost} videos or '
                'windows of videos: they are encoded again',
                stacklevel=2,
            )
            before = report
            report, lost = self._run_pass(sources)
            names = 'encoded', 'reused', 'removed', 'windows', 'seconds'
            sums = {n: getattr(before, n) + getattr(report, n) for n in names}
            report = replace(
                report,
                unchanged=before.unchanged,
                skipped=before.skipped,
                unreadable_windows={
                    **before.unreadable_windows,
                    **report.unreadable_windows,
                },
                **sums,
            )
        if lost:
            warnings.warn(
                f'{self.store.url} goes on losing features, of {lost} videos '
                'or windows now: see what its server says',
                stacklevel=2,
            )
        return report

    def _run_pass(self, sources: Sources) -> tuple[IndexReport, int]:
        """Index once.

        Returns:
            The report, and of how many contents the features are lost.
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
            gone = find_gone(before, sources)
            if not (sources.videos or sources.closed or gone):
                raise SetupError(describe_absence(sources))
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
            # Milvus 2.3 may lose features when it is killed: they are made
            # again.
            sound = {
                each.key: each
                for each in before
                if each.error is not None or each.content in known
            }
            pending, as_before = self._find_pending(
                sound, sources.videos, broken
            )
            facts = self.info if is_new else self.store.read_info()
            long = self._encode(pending, batch, facts)
            if long:
                self._encode_windows(long, batch)
            counts = _count(batch, as_before)
            own = {each.content for each in as_before if each.error is None}
            own |= batch.named | batch.added
            kept = set().union(*all_gather_object(own))
            broken_windows = {
                path: why
                for each in all_gather_object(batch.broken_windows)
                for path, why in each.items()
            }
            fit, lost = MetadataReport(), set()
            if get_rank() == 0 and batch.info is None:
                self.store.refresh()
                now = list(self.store.list_files())
                gone += find_moved(before, now, gone)
                fit = self.metadata.finish(now, gone)
                lost = kept - remove_files(self.store, gone, kept)
                if lost:
                    # For the next pass, what is there has all its windows.
                    wholes = {whole_content(each) for each in lost}
                    self.store.remove_videos(sorted(wholes - lost))
            barrier()
        files, unreadable = [], batch.unreadable
        if batch.info is None:
            self.store.refresh()
            files = list(self.store.list_files())
            unreadable = {
                e.path: e.error for e in files if e.error is not None
            }
        encoded, reused, unchanged, skipped, windows = counts
        report = IndexReport(
            videos=sum(e.error is None for e in files),
            encoded=encoded,
            reused=reused,
            unchanged=unchanged,
            removed=len(gone),
            unreadable={**sources.closed, **unreadable},
            skipped=skipped,
            metadata=fit,
            unreadable_subtitles=self.metadata.subtitles.unreadable,
            others=dict(sources.others),
            seconds=time.monotonic() - start,
            windows=windows,
            unreadable_windows=broken_windows,
        )
        # All processes have to agree on it.
        return report, sum(all_gather_object(len(lost)))

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
        facts: Mapping[str, Any],
    ) -> list['_LongVideo']:
        """Encode videos; those that get windows are not added yet."""
        long: list[_LongVideo] = []
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
            for count, ((video, entry), result) in pairs:
                windows = _plan(video, result, facts, batch)
                if windows:
                    long.append(_LongVideo(entry, result, windows))
                else:
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
        return long

    def _encode_windows(
        self, long: Sequence['_LongVideo'], batch: PendingBatch
    ) -> None:
        """Encode the windows of long videos, and add each behind them."""
        # Copies share them.
        once = {each.result.content: each for each in long}
        results = self.encoder.encode_videos(
            [window for each in once.values() for window in each.windows],
            self.workers,
            frozenset(batch.known),
        )
        bar = tqdm(
            desc=f'Indexing windows of {len(once)} long videos',
            total=sum(len(each.windows) for each in once.values()),
            unit='window',
            disable=not self.progress or get_rank() > 0,
        )
        try:
            for video in once.values():
                failed = []
                for window in video.windows:
                    result = next(results)
                    batch.add_window(result)
                    bar.update()
                    if result.error is not None:
                        failed.append((window, result.error))
                if failed:
                    window, why = failed[0]
                    batch.broken_windows[window.path] = (
                        f'{len(failed)} of {len(video.windows)} windows, the '
                        f'first from {window.start:.0f} s: {why}'
                    )
                batch.add(video.entry, video.result)
            for video in long:
                if once[video.result.content] is not video:
                    batch.add(video.entry, video.result)
        finally:
            bar.close()
            batch.commit()


class _LongVideo(NamedTuple):
    """A video that was encoded as a whole, and its windows."""

    entry: FileEntry
    result: EncodedVideo
    windows: list[FoundVideo]


def _plan(
    video: FoundVideo,
    result: EncodedVideo,
    facts: Mapping[str, Any],
    batch: PendingBatch,
) -> list[FoundVideo]:
    """The windows that are to be encoded besides the video."""
    if result.features is None or result.content in batch.known:
        return []
    try:
        return plan_windows(video, result.content, result.seconds, facts)
    except ValueError as error:
        batch.broken_windows[video.path] = str(error)
        return []


def _count(batch: PendingBatch, as_before: Sequence[FileEntry]) -> list[int]:
    """What all processes encoded, reused, left unchanged and skipped.

    And the windows that they encoded.
    """
    skipped = sum(entry.error is not None for entry in as_before)
    unchanged = len(as_before) - skipped
    skipped += batch.skipped
    counts = torch.tensor(
        [batch.encoded, batch.reused, unchanged, skipped, batch.windows]
    )
    all_reduce(counts)
    return counts.tolist()


def remove_files(
    store: VideoStore,
    entries: Sequence[FileEntry],
    kept: Set[str] = frozenset(),
) -> set[str]:
    """Take files out of an index, and features that no file has any more.

    The index is compact then. Milvus 2.3 may forget a removal when it is
    killed, though it has acknowledged it: what is still listed is removed
    again, here or by the next pass.

    Args:
        store: The index.
        entries: The files.
        kept: Contents that other files have, whether they are listed or not:
            a server that was started again may not list all at once.

    Returns:
        Contents that have features.
    """
    keys = [entry.key for entry in entries]
    for _ in range(REMOVAL_TRIES):
        # First: what has no file must not be found by its text.
        store.remove_metadata(keys)
        store.remove_files(keys)
        named = {entry.content for entry in store.list_files()} | kept
        there = store.list_contents()
        unnamed = {each for each in there if whole_content(each) not in named}
        store.remove_videos(sorted(unnamed))
        store.compact()
        if not keys or set(keys).isdisjoint(e.key for e in store.list_files()):
            break
    return there - unnamed
