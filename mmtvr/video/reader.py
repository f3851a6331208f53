"""What every reader of video files offers."""

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from types import TracebackType

import numpy as np


class UnreadableVideoError(Exception):
    """A video file that is missing, damaged or in an unknown format.

    The message is ``PATH: REASON``.
    """


class VideoReader(ABC):
    """An open video file.

    Readers survive neither a fork nor pickling: open one in the process that
    reads, and close it after the sample. Of several video streams the best is
    taken, as FFmpeg understands it; frames are rotated as the file says.

    Args:
        path: The video file.
        short_side: Reduce the frames so that the short side has this many
            pixels and the aspect ratio stays. A video that is not larger
            stays as it is. None: every video stays as it is.

    Raises:
        SetupError: If a package that the reader needs is not installed.
        UnreadableVideoError: If the file cannot be opened or holds no frame.
    """

    def __init__(
        self, path: str | os.PathLike, short_side: int | None = None
    ) -> None:
        self.path = os.fspath(path)
        #: For FFmpeg, which takes the name ``a:b.mp4`` for an address.
        self.location = os.path.abspath(self.path)
        self.short_side = short_side

    @abstractmethod
    def __len__(self) -> int:
        """Number of frames, at least one."""

    @property
    @abstractmethod
    def original_shape(self) -> tuple[int, int]:
        """Height and width of the first frame, as it is displayed."""

    @property
    @abstractmethod
    def fps(self) -> float:
        """Frames per second, on average; 0 where the file does not say."""

    @property
    @abstractmethod
    def codec(self) -> str:
        """FFmpeg's name of the format, as ``'h264'``."""

    @property
    @abstractmethod
    def rotation(self) -> int:
        """Degrees, anticlockwise, by which stored frames were turned."""

    @abstractmethod
    def get_frames(self, indices: Sequence[int]) -> np.ndarray:
        """Decode frames.

        Args:
            indices: Positions from 0 in the order of display, in any order;
                repeats are allowed.

        Returns:
            Shape (T, H, W, 3), uint8, RGB, in the order of ``indices``.

        Raises:
            UnreadableVideoError: If one of the frames cannot be decoded.
        """

    @abstractmethod
    def get_times(self) -> np.ndarray:
        """Return when each frame is shown.

        Returns:
            Shape (number of frames,), seconds since the first frame.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the file; the reader is of no use afterwards."""

    def __enter__(self) -> 'VideoReader':
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def reduced_size(
    shape: tuple[int, int], short_side: int | None
) -> tuple[int, int] | None:
    """Compute the size at which frames are handed over.

    Args:
        shape: Height and width of a frame.
        short_side: Pixels that its short side is to have, or None.

    Returns:
        Height and width with the same aspect ratio, rounded; None for a frame
        that is not larger than asked and stays as it is.
    """
    height, width = shape
    if short_side is None or short_side >= min(height, width):
        return None
    scale = short_side / min(height, width)
    return round(height * scale), round(width * scale)


def resize_frames(frames: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize frames of shape (T, H, W, 3), uint8, bicubically."""
    resized = np.empty((len(frames), *size, 3), np.uint8)
    for frame, into in zip(frames, resized, strict=True):
        resize_frame(frame, into)
    return resized


def resize_frame(frame: np.ndarray, into: np.ndarray) -> None:
    """Resize a frame of shape (H, W, 3) to that of ``into``, bicubically."""
    import cv2

    height, width = into.shape[:2]
    cv2.resize(frame, (width, height), into, interpolation=cv2.INTER_CUBIC)
