"""Frames of a video file, decoded by decord."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mmtvr.errors import SetupError
from mmtvr.video.opening import Header, read_header
from mmtvr.video.reader import (
    UnreadableVideoError,
    VideoReader,
    reduced_size,
    resize_frames,
)

# decord scales every frame that it decodes, also those that it skips, so it
# pays only for frames much larger than asked (measured: 720p to 224 saves a
# fifth of the time, 240 to 224 costs a sixth).
DECODE_REDUCED = 2 / 3


class DecordReader(VideoReader):
    """A video file opened with decord, which decodes what is asked for.

    Not exact on every file when it jumps (see docs/explanation/video.md), and
    not available everywhere.

    Args:
        path: The video file.
        short_side: See :class:`VideoReader`. The decoder reduces where that
            is cheaper than doing it afterwards.

    Raises:
        SetupError: If decord is not installed.
        UnreadableVideoError: If the file cannot be opened or is empty.
    """

    def __init__(
        self, path: str | os.PathLike, short_side: int | None = None
    ) -> None:
        super().__init__(path, short_side)
        self._reader = self._open()
        if not len(self._reader):
            raise UnreadableVideoError(f'{self.path}: it holds no frame')
        self._header: Header | None = None
        self._resize_to: tuple[int, int] | None = None
        self._original_shape: tuple[int, int] | None = None
        if short_side is not None:
            self._reduce(short_side)

    @property
    def original_shape(self) -> tuple[int, int]:
        """Height and width of the first frame, as it is displayed."""
        if self._original_shape is None:
            height, width, _ = self._guard(lambda: self._reader[0].shape)
            self._original_shape = int(height), int(width)
        return self._original_shape

    @property
    def fps(self) -> float:
        """Frames per second, on average."""
        return float(self._reader.get_avg_fps())

    @property
    def codec(self) -> str:
        """FFmpeg's name of the format, as ``'h264'``."""
        return self._read_header().codec

    @property
    def rotation(self) -> int:
        """Degrees, anticlockwise, by which decord turned stored frames."""
        return self._read_header().rotation

    def close(self) -> None:
        """Close the file."""
        self._reader = None

    def __len__(self) -> int:
        """Number of frames, at least one."""
        return len(self._reader)

    def get_frames(self, indices: Sequence[int]) -> np.ndarray:
        """Decode frames, see :class:`VideoReader`."""
        indices = [int(index) for index in indices]
        try:
            frames = self._guard(
                lambda: self._reader.get_batch(indices).asnumpy()
            )
        except UnreadableVideoError:
            if not self._has_padded_rows():
                raise
            frames = self._guard(lambda: self._get_narrow_frames(indices))
        if self._resize_to is None:
            # Asking decord for the size decodes a frame and seeks back.
            self._original_shape = self._original_shape or frames.shape[1:3]
            return frames
        return resize_frames(frames, self._resize_to)

    def get_times(self) -> np.ndarray:
        """Return when each frame is shown, see :class:`VideoReader`."""
        count = len(self._reader)
        times = self._guard(
            lambda: self._reader.get_frame_timestamp(range(count))[:, 0]
        )
        return times - times[0]

    def _reduce(self, short_side: int) -> None:
        """Plan for smaller frames if the video is larger than asked."""
        height, width = self.original_shape
        size = reduced_size((height, width), short_side)
        if size is None:
            return
        if short_side <= DECODE_REDUCED * min(height, width):
            self._reader = self._open(height=size[0], width=size[1])
        else:
            self._resize_to = size

    def _read_header(self) -> Header:
        if self._header is None:
            self._header = read_header(self.path)
        return self._header

    def _has_padded_rows(self) -> bool:
        """Whether the width is one that decord hands over with padding."""
        return self._guard(lambda: self._reader[0].shape[2]) != 3

    def _get_narrow_frames(self, indices: Sequence[int]) -> np.ndarray:
        """Decode frames whose rows decord hands over with their padding.

        At some small widths (2, 3, 4, 6, 8, 12, 16, 24, 48, 72) decord takes
        the padded row for pixels of more than three bytes and `get_batch`
        fails.
        """
        frames = []
        for index in indices:
            frame = self._reader[index].asnumpy()
            height, width, depth = frame.shape
            rows = frame.reshape(height, width * depth)[:, : width * 3]
            frames.append(rows.reshape(height, width, 3))
        return np.stack(frames)

    def _open(self, **size: int) -> Any:
        try:
            import decord
        except ImportError as error:
            raise SetupError(
                "The reader 'decord' needs the package decord, which is not "
                "installed: pip install decord, or set reader='auto'"
            ) from error
        return self._guard(
            lambda: decord.VideoReader(
                self.location, ctx=decord.cpu(0), num_threads=1, **size
            )
        )

    def _guard(self, decode: Callable[[], Any]) -> Any:
        try:
            return decode()
        except Exception as error:
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise UnreadableVideoError(f'{self.path}: {reason[-1]}') from error
