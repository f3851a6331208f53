"""Frames of a video file, decoded by OpenCV."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from mmtvr.video.opening import Header, read_header
from mmtvr.video.pyav_reader import FileMemory, times_from_first
from mmtvr.video.reader import (
    UnreadableVideoError,
    VideoReader,
    reduced_size,
    resize_frames,
)

MEMORY = FileMemory()


class OpenCVReader(VideoReader):
    """A video file read in order by OpenCV, which is wrong when it jumps.

    OpenCV takes the first video stream; a file whose best is another one is
    refused. Where it finds fewer frames than there are, nobody can tell.

    Args:
        path: The video file.
        short_side: See :class:`VideoReader`.

    Raises:
        UnreadableVideoError: If the file cannot be opened, if there is no
            frame in it, or if its best video stream is not the first.
    """

    def __init__(
        self, path: str | os.PathLike, short_side: int | None = None
    ) -> None:
        super().__init__(path, short_side)
        self._header: Header = read_header(self.path)
        if not self._header.is_first:
            raise UnreadableVideoError(
                f'{self.path}: OpenCV reads another of its video streams'
            )
        self._capture = self._open()
        self._findings = MEMORY.recall(self.path)
        if self._findings.times is None:
            self._findings.times = self._look_through()

    def __len__(self) -> int:
        """Number of frames that OpenCV gives, at least one."""
        return len(self._findings.times)

    @property
    def original_shape(self) -> tuple[int, int]:
        """Height and width of the stored picture, as it is displayed."""
        import cv2

        return (
            int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT)),
            int(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH)),
        )

    @property
    def fps(self) -> float:
        """Frames per second, on average; 0 where the file does not tell."""
        return self._header.fps

    @property
    def codec(self) -> str:
        """FFmpeg's name of the format of the pictures."""
        return self._header.codec

    @property
    def rotation(self) -> int:
        """Degrees, anticlockwise, by which OpenCV turned the pictures."""
        return self._header.rotation

    def get_frames(self, indices: Sequence[int]) -> np.ndarray:
        """Decode frames, see :class:`VideoReader`."""
        import cv2

        order = [int(index) for index in indices]
        wanted = set(order)
        self._capture.release()
        self._capture = self._open()
        size = reduced_size(self.original_shape, self.short_side)
        frames = {}
        for index in range(max(order) + 1):
            done = self._capture.grab()
            if done and index in wanted:
                done, frame = self._capture.retrieve()
                frames[index] = frame
            if not done:
                raise UnreadableVideoError(
                    f'{self.path}: OpenCV cannot decode frame {index}'
                )
        pictures = {
            index: cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
            for index, frame in frames.items()
        }
        if size is not None:
            pictures = {
                index: resize_frames(picture[None], size)[0]
                for index, picture in pictures.items()
            }
        return np.stack([pictures[index] for index in order])

    def get_times(self) -> np.ndarray:
        """Tell when each frame is shown, see :class:`VideoReader`."""
        return self._findings.times.copy()

    def close(self) -> None:
        """Let go of the file."""
        self._capture.release()

    def _open(self) -> Any:
        import cv2

        capture = cv2.VideoCapture(self.location, cv2.CAP_FFMPEG)
        if not capture.isOpened():
            raise UnreadableVideoError(f'{self.path}: OpenCV cannot open it')
        return capture

    def _look_through(self) -> np.ndarray:
        import cv2

        times = []
        while self._capture.grab():
            times.append(self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
        if not times or not self._capture_gives_pictures():
            raise UnreadableVideoError(
                f'{self.path}: OpenCV finds no frame in it'
            )
        return times_from_first(times, self.fps)

    def _capture_gives_pictures(self) -> bool:
        self._capture.release()
        self._capture = self._open()
        return self._capture.read()[0]
