"""Frames of a video file, read in the fastest way that is exact for it."""

import os
from collections.abc import Sequence

import numpy as np

from mmtvr.video.file_memory import MEMORY
from mmtvr.video.pyav_reader import PyAVReader
from mmtvr.video.reader import UnreadableVideoError, VideoReader
from mmtvr.video.selective_reader import MustReadInOrderError, SelectiveReader


class AutoReader(VideoReader):
    """A video file of which single frames are decoded where that is exact.

    Container, format and packets decide, see :func:`why_in_order`: either
    :class:`SelectiveReader` or :class:`PyAVReader`. If a decoder does not do
    what the packets promised, the file is opened with more care, and if it
    still does not, read in order from then on. The decision is remembered as
    long as the file stays as it is.

    Args:
        path: The video file.
        short_side: See :class:`VideoReader`.

    Raises:
        UnreadableVideoError: If the file cannot be opened or holds no frame.
    """

    def __init__(
        self, path: str | os.PathLike, short_side: int | None = None
    ) -> None:
        super().__init__(path, short_side)
        self._findings = MEMORY.recall(self.path)
        self._reader = self._choose()

    @property
    def in_order(self) -> str:
        """Why the file is read in order; empty if it is not."""
        return self._findings.in_order or ''

    def __len__(self) -> int:
        """Number of frames, at least one."""
        return len(self._reader)

    @property
    def original_shape(self) -> tuple[int, int]:
        """Height and width of the stored picture, as it is displayed."""
        self._look_at_first()
        return self._reader.original_shape

    @property
    def fps(self) -> float:
        """Frames per second, on average; 0 where the file does not tell."""
        return self._reader.fps

    @property
    def codec(self) -> str:
        """FFmpeg's name of the format of the pictures."""
        return self._reader.codec

    @property
    def rotation(self) -> int:
        """Degrees, anticlockwise, by which stored pictures were turned."""
        self._look_at_first()
        return self._reader.rotation

    def get_frames(self, indices: Sequence[int]) -> np.ndarray:
        """Decode frames, see :class:`VideoReader`."""
        if isinstance(self._reader, PyAVReader):
            return self._reader.get_frames(indices)
        while isinstance(self._reader, SelectiveReader):
            try:
                return self._reader.get_frames(indices)
            except (MustReadInOrderError, UnreadableVideoError) as error:
                before = self._reader
                self._take_more_care(error, before.try_decoders)
                # A closed one must not stay if this fails.
                self._reader = self._choose()
                before.close()
        return self._get_promised(indices)

    def get_times(self) -> np.ndarray:
        """Tell when each frame is shown, see :class:`VideoReader`."""
        return self._reader.get_times()

    def close(self) -> None:
        """Let go of the file."""
        self._reader.close()

    def _choose(self) -> VideoReader:
        while not self._findings.in_order:
            tried = self._findings.needs_trial
            try:
                reader = SelectiveReader(self.path, self.short_side, tried)
            except MustReadInOrderError as error:
                self._take_more_care(error, tried)
            else:
                self._findings.in_order = ''
                return reader
        return PyAVReader(self.path, self.short_side)

    def _take_more_care(self, error: Exception, tried: bool) -> None:
        if tried or getattr(error, 'for_good', False):
            self._findings.in_order = str(error)
        self._findings.needs_trial = True

    def _get_promised(self, indices: Sequence[int]) -> np.ndarray:
        """Get frames that were asked for before the count was certain."""
        try:
            return self._reader.get_frames(indices)
        except IndexError as error:
            raise UnreadableVideoError(
                f'{self.path}: it promised more than the {len(self)} frames '
                'that its decoder gives'
            ) from error

    def _look_at_first(self) -> None:
        """Have a picture decoded if none was, in whatever way is right."""
        if not self._reader.has_pictures:
            self.get_frames([0])
