"""Frames of a video file at given positions."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import mmcv
import numpy as np

from mmtvr.errors import SetupError

# decord scales every frame that it decodes, also those that it skips, so it
# pays only for frames much larger than asked (measured: 720p to 224 saves a
# fifth of the time, 240 to 224 costs a sixth).
DECODE_REDUCED = 2 / 3


class UnreadableVideoError(Exception):
    """A video file that is missing, damaged or in an unknown format."""


class DecordReader:
    """A video file opened with decord, which decodes what is asked for.

    decord's readers survive neither a fork nor pickling: open one in the
    process that reads, and drop it after the sample. Rotation metadata is
    applied; of several video streams the best is taken.

    Args:
        path: The video file.
        short_side: Reduce the frames so that the short side has this many
            pixels and the aspect ratio stays: in the decoder where that is
            cheaper, after it otherwise. A video that is not larger stays as
            it is. None: every video stays as it is.

    Raises:
        SetupError: If decord is not installed.
        UnreadableVideoError: If the file cannot be opened or is empty.
    """

    def __init__(self, path: str, short_side: int | None = None) -> None:
        self._path = os.fspath(path)
        self._reader = self._open()
        if not len(self._reader):
            raise UnreadableVideoError(f'{self._path}: it holds no frame')
        self._resize_to: tuple[int, int] | None = None
        self._original_shape: tuple[int, int] | None = None
        if short_side is not None:
            self._reduce(short_side)

    @property
    def original_shape(self) -> tuple[int, int]:
        """Height and width of the stored picture, as it is displayed."""
        if self._original_shape is None:
            height, width, _ = self._guard(lambda: self._reader[0].shape)
            self._original_shape = int(height), int(width)
        return self._original_shape

    def __len__(self) -> int:
        """Number of frames, at least one."""
        return len(self._reader)

    def get_frames(self, indices: Sequence[int]) -> np.ndarray:
        """Decode frames.

        Args:
            indices: Positions from 0, in any order; repeats are allowed.

        Returns:
            Shape (T, H, W, 3), uint8, RGB, in the order of ``indices``.

        Raises:
            UnreadableVideoError: If one of the frames cannot be decoded.
        """
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
        return np.stack(
            [
                mmcv.imresize(frame, self._resize_to, interpolation='bicubic')
                for frame in frames
            ]
        )

    def get_times(self) -> np.ndarray:
        """Tell when each frame is shown.

        Returns:
            Shape (number of frames,), seconds since the first frame.
        """
        count = len(self._reader)
        times = self._guard(
            lambda: self._reader.get_frame_timestamp(range(count))[:, 0]
        )
        return times - times[0]

    def _reduce(self, short_side: int) -> None:
        """Plan for smaller frames if the video is larger than asked."""
        height, width = self.original_shape
        scale = short_side / min(height, width)
        if scale >= 1:
            return
        size = dict(width=round(width * scale), height=round(height * scale))
        if scale <= DECODE_REDUCED:
            self._reader = self._open(**size)
        else:
            self._resize_to = (size['width'], size['height'])

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
                'Reading videos needs decord, which is not installed: '
                'pip install decord'
            ) from error
        return self._guard(
            lambda: decord.VideoReader(
                self._path, ctx=decord.cpu(0), num_threads=1, **size
            )
        )

    def _guard(self, decode: Callable[[], Any]) -> Any:
        try:
            return decode()
        except Exception as error:
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise UnreadableVideoError(
                f'{self._path}: {reason[-1]}'
            ) from error
