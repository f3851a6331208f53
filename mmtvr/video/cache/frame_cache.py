"""The policy of the frame cache: what is served, what is stored, when not."""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import xxhash

from mmtvr.video.cache.content import content_digest, file_identity, is_settled
from mmtvr.video.cache.entry import make_members, request_key
from mmtvr.video.cache.jpeg import decode_jpeg, encode_jpeg
from mmtvr.video.cache.shard import DamagedEntryError, Member, entry_bytes
from mmtvr.video.cache.space import check_limit, check_reserve
from mmtvr.video.cache.store import FrameStore
from mmtvr.video.cache.stored_video import StoredVideo
from mmtvr.video.cache.warn_once import may_warn

LOGGER = logging.getLogger(__name__)


class Query(NamedTuple):
    """What is looked for.

    Attributes:
        path: The video file.
        identity: See :func:`file_identity`, at the time of asking.
        request: All that the frames depend on, as JSON.
        key: Its digest.
    """

    path: str
    identity: bytes
    request: dict[str, Any]
    key: bytes


class FrameCache:
    """Frames of videos that were decoded before.

    An entry is found by what its frames depend on: the content of the file,
    the reader with its version, the sampling and the size. What changes any
    of them leads to another entry. Whatever is read is checked by a checksum;
    a damaged or half-written entry counts as absent and is made again.

    A cache never stops a run: where the disk is full, or nothing can be
    written for another reason, it says so once and only serves.

    Args:
        folder: Where the cache is. Several processes and machines may share
            it, see :class:`FrameStore`; it may be moved.
        coding: ``'raw'`` keeps what the reader gave, bit by bit; ``'jpeg'``
            takes a fraction of the disk and changes pixels.
        quality: Of JPEG, 1 to 100.
        frames_per_segment: How many frames of each segment are stored for
            random sampling, evenly spread, of which each access draws one.
        reserve_gb: Disk space, in 10^9 bytes, that is left for other things.
        limit_gb: What the cache may grow to, in 10^9 bytes. None: the disk.
        host: Name of this machine in the names of files; its host name and
            user if None.
        warn: Gets the message when caching stops.

    Raises:
        ValueError: If an option is out of its range.
    """

    def __init__(
        self,
        folder: str,
        coding: Literal['raw', 'jpeg'] = 'raw',
        quality: int = 95,
        frames_per_segment: int = 3,
        reserve_gb: float = 2.0,
        limit_gb: float | None = None,
        host: str | None = None,
        warn: Callable[[str], None] = LOGGER.warning,
    ) -> None:
        if coding not in ('raw', 'jpeg'):
            raise ValueError(f"coding must be 'raw' or 'jpeg', got {coding!r}")
        if not 1 <= quality <= 100:
            raise ValueError(f'quality must be 1 to 100, got {quality}')
        if frames_per_segment < 1:
            raise ValueError(
                'frames_per_segment must be positive, got '
                f'{frames_per_segment}'
            )
        self.folder = Path(folder)
        self.quality = quality if coding == 'jpeg' else None
        self.frames_per_segment = frames_per_segment
        self.reserve_gb = reserve_gb
        self.limit_gb = limit_gb
        #: Whether this process has given up storing.
        self.stopped = False
        self._store = FrameStore(self.folder, host)
        self._warn = warn

    def ask(self, path: str, options: Mapping[str, Any]) -> Query | None:
        """Say what is looked for; reads the file if it is not known yet.

        Args:
            path: The video file.
            options: Reader, sampling and size; JSON.

        Returns:
            The argument of the other methods; None if the file is not there
            or cannot be read.
        """
        try:
            identity = file_identity(path)
            digest = self._find_digest(path, identity)
        except OSError:
            return None
        request = dict(options, content=digest.hex(), quality=self.quality)
        return Query(path, identity, request, request_key(request))

    def find(self, query: Query) -> StoredVideo | None:
        """Look for an entry.

        Args:
            query: From :meth:`ask`.

        Returns:
            It, with facts that were checked; None if there is none.
        """
        for shard, place in list(self._store.find(query.key)):
            try:
                video = StoredVideo(shard, place)
            except DamagedEntryError:
                self._store.drop(query.key, place)
                continue
            stored = video.facts['request']
            # Tuples come back as lists; their keys are then equal.
            if stored == query.request or request_key(stored) == query.key:
                return video
        return None

    def drop(self, query: Query, video: StoredVideo) -> None:
        """Forget an entry whose frames turned out to be damaged.

        Args:
            query: From :meth:`ask`.
            video: From :meth:`find`.
        """
        self._store.drop(query.key, video.place)

    def add(
        self,
        query: Query,
        facts: Mapping[str, Any],
        frames: np.ndarray,
        times: np.ndarray | None = None,
    ) -> int:
        """Store an entry, unless the cache has stopped or the file changed.

        Args:
            query: From :meth:`ask`, before the file was read.
            facts: ``indices`` of the frames and what else is known of the
                video; JSON.
            frames: Shape (T, H, W, 3), uint8.
            times: When each frame of the video is shown, if that is known.

        Returns:
            Number of bytes that were added.
        """
        if self.stopped or not _is_as_before(query):
            return 0
        facts = dict(facts, request=query.request)
        members = make_members(facts, frames, times, self.quality)
        try:
            self._keep(query, members)
        except OSError as error:
            self._stop(error)
            return 0
        return entry_bytes(members)

    def as_stored(self, frames: np.ndarray) -> np.ndarray:
        """Make of decoded frames what later visits get.

        Args:
            frames: Shape (T, H, W, 3), uint8.

        Returns:
            Likewise: themselves, or once through JPEG.
        """
        if self.quality is None:
            return frames
        pictures = [encode_jpeg(frame, self.quality) for frame in frames]
        return np.stack([decode_jpeg(picture) for picture in pictures])

    def used_bytes(self) -> int:
        """Tell what the cache takes.

        Returns:
            Bytes.
        """
        return self._store.used_bytes()

    def close(self) -> None:
        """Let go of all files."""
        self._store.close()

    def _find_digest(self, path: str, identity: bytes) -> bytes:
        digest = self._store.find_digest(identity)
        if digest is None:
            settled = is_settled(path)
            digest = content_digest(path)
            if settled and not self.stopped:
                try:
                    self._store.add_digest(identity, digest)
                except OSError as error:
                    self._stop(error)
        return digest

    def _keep(self, query: Query, members: Sequence[Member]) -> None:
        size = entry_bytes(members)
        check_reserve(self.folder, size, self.reserve_gb)
        if self.limit_gb is not None:
            check_limit(self.used_bytes() + size, self.limit_gb)
        self._store.add(query.key, members)

    def _stop(self, error: OSError) -> None:
        self.stopped = True
        folder = str(self.folder.absolute())
        if may_warn(xxhash.xxh3_64_hexdigest(folder.encode())):
            self._warn(
                f'No more frames are stored in the cache {self.folder}: '
                f'{error.strerror or error}. What is there is used; other '
                'videos are decoded each time.'
            )


def _is_as_before(query: Query) -> bool:
    """Whether the file is still the one that was asked for."""
    try:
        return file_identity(query.path) == query.identity
    except OSError:
        return False
