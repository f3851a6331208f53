"""Frames of a video file, decoded by torchcodec."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mmtvr.errors import SetupError, first_line
from mmtvr.video.opening import read_times
from mmtvr.video.pyav_reader import times_from_first
from mmtvr.video.reader import (
    UnreadableVideoError,
    VideoReader,
    reduced_size,
    resize_frames,
)


class TorchCodecReader(VideoReader):
    """A video file opened with torchcodec, on the CPU.

    It needs a torchcodec that fits the PyTorch at hand, and FFmpeg's
    libraries on the system.

    Args:
        path: The video file.
        short_side: See :class:`VideoReader`.
        seek_mode: torchcodec's ``'exact'``, which reads all packets first,
            or ``'approximate'``, which believes the head of the file.

    Raises:
        SetupError: If torchcodec is not installed or cannot be loaded.
        UnreadableVideoError: If the file cannot be opened or is empty.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        short_side: int | None = None,
        seek_mode: str = 'exact',
    ) -> None:
        super().__init__(path, short_side)
        make = _import_decoder()
        self._decoder = self._guard(
            lambda: make(
                self.location,
                dimension_order='NHWC',
                num_ffmpeg_threads=1,
                seek_mode=seek_mode,
            )
        )
        if not self._guard(lambda: len(self._decoder)):
            raise UnreadableVideoError(f'{self.path}: it holds no frame')

    def __len__(self) -> int:
        """Number of frames, at least one."""
        return len(self._decoder)

    @property
    def original_shape(self) -> tuple[int, int]:
        """Height and width of the first frame, as it is displayed."""
        # The metadata have that of the file, not that of the first frame.
        first = self._guard(lambda: self._decoder.get_frame_at(0).data)
        height, width, _ = first.shape
        return height, width

    @property
    def fps(self) -> float:
        """Frames per second, on average; 0 where the file does not say."""
        return float(self._decoder.metadata.average_fps or 0)

    @property
    def codec(self) -> str:
        """FFmpeg's name of the format, as ``'h264'``."""
        return self._decoder.metadata.codec

    @property
    def rotation(self) -> int:
        """Degrees, anticlockwise, by which torchcodec turned stored frames."""
        return round(self._decoder.metadata.rotation or 0)

    def get_frames(self, indices: Sequence[int]) -> np.ndarray:
        """Decode frames, see :class:`VideoReader`."""
        order = [int(index) for index in indices]
        frames = self._guard(
            lambda: self._decoder.get_frames_at(order).data.numpy()
        )
        size = reduced_size(frames.shape[1:3], self.short_side)
        return frames if size is None else resize_frames(frames, size)

    def get_times(self) -> np.ndarray:
        """Return when each frame is shown, see :class:`VideoReader`."""
        times = read_times(self.path)
        if len(times) == len(self):
            return times
        return times_from_first([None] * len(self), self.fps)

    def close(self) -> None:
        """Close the file."""
        self._decoder = None

    def _guard(self, decode: Callable[[], Any]) -> Any:
        try:
            return decode()
        except (RuntimeError, ValueError, IndexError) as error:
            raise UnreadableVideoError(
                f'{self.path}: {first_line(error)}'
            ) from error


def _import_decoder() -> Callable[..., Any]:
    try:
        from torchcodec.decoders import VideoDecoder
    except (ImportError, RuntimeError, OSError) as error:
        raise SetupError(
            "The reader 'torchcodec' needs torchcodec, in the version for "
            "this PyTorch, and FFmpeg's libraries on the system: "
            f"{first_line(error)}. Install them, or set reader='auto'"
        ) from error
    return VideoDecoder
