"""From a decoded frame to an array of the asked size, upright."""

from typing import Any

import numpy as np

from mmtvr.video.resizing import reduced_size, resize_frames

# FFmpeg's scaler filters with every pixel that it leaves out, so that it is
# dearer than OpenCV's for a small reduction and cheaper for a large one.
SCALE_WHILE_CONVERTING = 2 / 3


class PictureMaker:
    """Converts the frames of one video.

    All get the size of the first, also where the video changes its size.

    Args:
        short_side: See :class:`mmtvr.video.VideoReader`.
    """

    def __init__(self, short_side: int | None) -> None:
        from av.video.reformatter import VideoReformatter

        self._reformatter = VideoReformatter()
        self._short_side = short_side
        self.stored_shape: tuple[int, int] | None = None
        self._turn = Turn()

    @property
    def rotation(self) -> int:
        """Degrees, anticlockwise, by which pictures are turned."""
        return self._turn.degrees

    @property
    def shown_shape(self) -> tuple[int, int]:
        """Height and width of an upright picture before it is reduced."""
        height, width = self.stored_shape
        return (width, height) if self.rotation % 180 else (height, width)

    def look_at(self, frame: Any) -> None:
        """Take size and orientation from the first frame.

        Args:
            frame: PyAV's frame.
        """
        if self.stored_shape is None:
            self.stored_shape = frame.height, frame.width
            self._turn = Turn.read(frame)

    def make(self, frame: Any) -> np.ndarray:
        """Convert a frame.

        Args:
            frame: PyAV's frame.

        Returns:
            Shape (H, W, 3), uint8, RGB.
        """
        self.look_at(frame)
        size = reduced_size(self.stored_shape, self._short_side)
        target = size or self.stored_shape
        scale = target[0] / self.stored_shape[0]
        at_once = target
        if size is not None and scale > SCALE_WHILE_CONVERTING:
            at_once = self.stored_shape
        picture = self._reformatter.reformat(
            frame,
            width=at_once[1],
            height=at_once[0],
            format='rgb24',
            interpolation='BICUBIC',
            threads=1,
        ).to_ndarray()
        if at_once != target:
            picture = resize_frames(picture[None], target)[0]
        return self._turn.apply(picture)


class Turn:
    """How pictures are turned and mirrored before they are shown.

    Args:
        degrees: Anticlockwise: 0, 90, 180 or -90.
        mirrored: Swap left and right of the result.
    """

    def __init__(self, degrees: int = 0, mirrored: bool = False) -> None:
        self.degrees = degrees
        self.mirrored = mirrored

    @classmethod
    def read(cls, frame: Any) -> 'Turn':
        """Read it from the display matrix of a frame.

        Args:
            frame: PyAV's frame.

        Returns:
            The nearest turn by right angles.
        """
        matrix = frame.side_data.get('DISPLAYMATRIX')
        if matrix is None:
            return cls()
        a, b, _, c, d = np.frombuffer(bytes(matrix), '<i4')[:5] / 65536
        mirrored = a * d - b * c < 0
        if mirrored:
            a, c = -a, -c
        quarters = round(np.degrees(np.arctan2(-b, a)) / 90) % 4
        return cls((0, 90, 180, -90)[quarters], bool(mirrored))

    def apply(self, picture: np.ndarray) -> np.ndarray:
        """Turn a picture.

        Args:
            picture: Shape (H, W, 3).

        Returns:
            The picture as it is shown.
        """
        if self.degrees:
            picture = np.rot90(picture, self.degrees // 90)
        return picture[:, ::-1] if self.mirrored else picture
