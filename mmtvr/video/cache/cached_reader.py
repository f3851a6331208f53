"""A reader that opens the file only if the cache does not know enough."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mmtvr.video.cache.candidates import snap_to_spread, spread_in_segments
from mmtvr.video.cache.frame_cache import FrameCache
from mmtvr.video.cache.shard import DamagedEntryError
from mmtvr.video.reader import VideoReader

OpenReader = Callable[..., VideoReader]


class CachedReader(VideoReader):
    """Answers as the reader of the file does, from the cache where it can.

    Answers are the same, bit by bit, unless the cache stores JPEG. What is
    not known is read from the file, and stored together with the frames.

    Args:
        cache: The cache.
        open_reader: Opens the file: ``open_reader(path, short_side=...)``.
        options: What else the stored frames depend on: name and version of
            the reader, sampling; JSON.
        path: The video file.
        short_side: See :class:`VideoReader`.

    Raises:
        UnreadableVideoError: From the reader, not before it is needed.
    """

    def __init__(
        self,
        cache: FrameCache,
        open_reader: OpenReader,
        options: Mapping[str, Any],
        path: str,
        short_side: int | None = None,
    ) -> None:
        super().__init__(path, short_side)
        self._cache = cache
        self._open_reader = open_reader
        self._reader: VideoReader | None = None
        self._query = cache.ask(
            self.path, dict(options, short_side=short_side)
        )
        self._stored = self._query and cache.find(self._query)
        self._facts = self._stored.properties if self._stored else {}
        self._times: np.ndarray | None = None
        self._segments: np.ndarray | None = None
        #: Number of bytes that were added to the cache.
        self.added_bytes = 0

    @property
    def is_stored(self) -> bool:
        """Whether the cache holds frames of what is asked for."""
        return self._stored is not None

    @property
    def original_shape(self) -> tuple[int, int]:
        """Height and width of the stored picture, as it is displayed."""
        return tuple(self._know('original_shape'))

    @property
    def fps(self) -> float:
        """Frames per second, on average; 0 where the file does not tell."""
        return self._know('fps')

    @property
    def codec(self) -> str:
        """FFmpeg's name of the format of the pictures, as ``'h264'``."""
        return self._know('codec')

    @property
    def rotation(self) -> int:
        """Degrees, anticlockwise, by which stored pictures were turned."""
        return self._know('rotation')

    def __len__(self) -> int:
        """Number of frames, at least one."""
        if 'count' not in self._facts:
            self._facts['count'] = len(self._get_reader())
        return self._facts['count']

    def move_to_kept(
        self, indices: np.ndarray, bounds: np.ndarray
    ) -> np.ndarray:
        """Replace drawn frames by those that the cache keeps of a segment.

        All that it is to keep is stored together with the frames that are
        asked for next.

        Args:
            indices: Shape (T,), positions within the bounds.
            bounds: Shape (N + 1,); segment i holds the frames from bounds[i]
                to before bounds[i + 1].

        Returns:
            Shape (T,), int64, see :func:`snap_to_spread`.
        """
        per_segment = self._cache.frames_per_segment
        self._segments = bounds
        return snap_to_spread(indices, bounds, per_segment)

    def get_frames(self, indices: Sequence[int]) -> np.ndarray:
        """Read frames, from the cache if they are there.

        Args:
            indices: Positions from 0, in any order; repeats are allowed.

        Returns:
            Shape (T, H, W, 3), uint8, RGB, in the order of ``indices``.

        Raises:
            UnreadableVideoError: If one of the frames cannot be decoded.
        """
        frames = self._from_cache(lambda video: video.get_frames(indices))
        if frames is not None:
            return frames
        if self._query is None or self._cache.stopped:
            frames = self._get_reader().get_frames(indices)
        else:
            frames = self._read_and_store(indices)
        # The same frames at the first visit as at later ones.
        return self._cache.as_stored(frames)

    def get_times(self) -> np.ndarray:
        """Tell when each frame is shown.

        Returns:
            Shape (number of frames,), seconds since the first frame.
        """
        if self._times is None:
            self._times = self._from_cache(lambda video: video.get_times())
        if self._times is None:
            self._times = self._get_reader().get_times()
        return self._times

    def close(self) -> None:
        """Let go of the file."""
        if self._reader is not None:
            self._reader.close()

    def _read_and_store(self, indices: Sequence[int]) -> np.ndarray:
        wanted = np.unique(indices)
        if self._segments is not None:
            kept = spread_in_segments(
                self._segments, self._cache.frames_per_segment
            )
            wanted = np.union1d(wanted, kept)
        reader = self._get_reader()
        frames = reader.get_frames(wanted)
        # Asking decord for it before the frames costs a seek.
        self._facts['original_shape'] = list(reader.original_shape)
        times = self.get_times()
        # Of a damaged file a reader may find fewer frames than it thought.
        if len(times) == len(self):
            facts = dict(self._facts, indices=wanted.tolist())
            self.added_bytes = self._cache.add(
                self._query, facts, frames, times
            )
        return frames[np.searchsorted(wanted, indices)]

    def _know(self, name: str) -> Any:
        if name not in self._facts:
            self._facts[name] = getattr(self._get_reader(), name)
        return self._facts[name]

    def _from_cache(self, read: Callable[..., Any]) -> Any:
        while self._stored is not None:
            try:
                return read(self._stored)
            except DamagedEntryError:
                self._cache.drop(self._query, self._stored)
                # Another process may have made it again.
                self._stored = self._cache.find(self._query)
        return None

    def _get_reader(self) -> VideoReader:
        if self._reader is None:
            self._reader = self._open_reader(
                self.path, short_side=self.short_side
            )
        return self._reader
