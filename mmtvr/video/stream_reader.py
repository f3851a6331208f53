"""What readers have in common that decode a stream with PyAV."""

import os
from collections.abc import Sequence

from mmtvr.video.opening import open_video
from mmtvr.video.pictures import PictureMaker
from mmtvr.video.reader import VideoReader


class StreamReader(VideoReader):
    """The best video stream of a file, and what makes pictures of its frames.

    Args:
        path: The video file.
        short_side: See :class:`VideoReader`.
        try_decoders: See :func:`open_video`.

    Raises:
        UnreadableVideoError: If the file cannot be opened.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        short_side: int | None = None,
        try_decoders: bool = True,
    ) -> None:
        super().__init__(path, short_side)
        self._maker = PictureMaker(short_side)
        self._container, self._stream = open_video(self.path, try_decoders)

    @property
    def original_shape(self) -> tuple[int, int]:
        """Height and width of the first picture, as it is displayed."""
        self._look_at_first()
        return self._maker.shown_shape

    @property
    def fps(self) -> float:
        """Frames per second, on average; 0 where the file does not tell."""
        return float(self._stream.average_rate or 0)

    @property
    def codec(self) -> str:
        """FFmpeg's name of the format of the pictures."""
        return self._stream.codec_context.codec.canonical_name

    @property
    def rotation(self) -> int:
        """Degrees, anticlockwise, by which stored pictures were turned."""
        self._look_at_first()
        return self._maker.rotation

    @property
    def has_pictures(self) -> bool:
        """Whether size and rotation are known already."""
        return self._maker.stored_shape is not None

    def close(self) -> None:
        """Let go of the file."""
        self._container.close()

    def _check(self, indices: Sequence[int]) -> list[int]:
        """Refuse positions that are not in the file."""
        order = [int(index) for index in indices]
        if order and not 0 <= min(order) <= max(order) < len(self):
            raise IndexError(
                f'{self.path}: it has {len(self)} frames; asked for '
                f'{min(order)} to {max(order)}'
            )
        return order

    def _look_at_first(self) -> None:
        if not self.has_pictures:
            self.get_frames([0])
