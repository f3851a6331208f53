"""From a decoded frame to an array of the asked size, upright."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from mmtvr.video.reader import reduced_size, resize_frame

# FFmpeg's scaler filters with every pixel that it leaves out, so that it is
# dearer than OpenCV's for a small reduction and cheaper for a large one.
SCALE_WHILE_CONVERTING = 2 / 3
# Scaled so, pictures take half the time of packed RGB, and each pixel gets a
# colour of its own rather than one for two. The planes are green, blue, red.
PLANES, RED_GREEN_BLUE = 'gbrp', (2, 0, 1)


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

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the pictures that are made."""
        height, width = self._stored_size
        upright = (width, height) if self.rotation % 180 else (height, width)
        return *upright, 3

    @property
    def _stored_size(self) -> tuple[int, int]:
        return (
            reduced_size(self.stored_shape, self._short_side)
            or self.stored_shape
        )

    def make(self, frame: Any, into: np.ndarray) -> None:
        """Convert a frame.

        Args:
            frame: PyAV's frame.
            into: Where to, RGB, uint8, contiguous; of the shape that
                ``shape`` tells.
        """
        if self._turn.is_none:
            self._convert(frame, into)
            return
        picture = np.empty((*self._stored_size, 3), np.uint8)
        self._convert(frame, picture)
        into[...] = self._turn.apply(picture)

    def _convert(self, frame: Any, into: np.ndarray) -> None:
        """Convert a frame as it is stored, upright or not."""
        size = into.shape[:2]
        if size[0] / self.stored_shape[0] > SCALE_WHILE_CONVERTING:
            (plane,) = self._reformat(frame, self.stored_shape, 'rgb24')
            picture = plane.reshape(*self.stored_shape, 3)
            if size == self.stored_shape:
                into[...] = picture
            else:
                resize_frame(picture, into)
            return
        import cv2

        planes = self._reformat(frame, size, PLANES)
        cv2.merge([planes[number] for number in RED_GREEN_BLUE], into)

    def _reformat(
        self, frame: Any, size: tuple[int, int], pixels: str
    ) -> list[np.ndarray]:
        """Convert and scale; the planes, without the padding of the rows."""
        frame = self._reformatter.reformat(
            frame,
            width=size[1],
            height=size[0],
            format=pixels,
            interpolation='BICUBIC',
            threads=1,
        )
        row = size[1] * (3 if pixels == 'rgb24' else 1)
        return [
            np.frombuffer(plane, np.uint8).reshape(size[0], -1)[:, :row]
            for plane in frame.planes
        ]


class Turn:
    """How pictures are turned and mirrored before they are shown.

    Args:
        degrees: Anticlockwise: 0, 90, 180 or -90.
        mirrored: Swap left and right of the result.
    """

    def __init__(self, degrees: int = 0, mirrored: bool = False) -> None:
        self.degrees = degrees
        self.mirrored = mirrored

    @property
    def is_none(self) -> bool:
        """Whether pictures stay as they are."""
        return not (self.degrees or self.mirrored)

    @classmethod
    def read(cls, frame: Any) -> 'Turn':
        """Read it from the display matrix of a frame.

        Args:
            frame: PyAV's frame.

        Returns:
            The nearest turn by right angles.
        """
        matrix = read_matrix(frame)
        if matrix is None:
            return cls()
        a, b, _, c, d = np.frombuffer(matrix, '<i4')[:5] / 65536
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


# FFmpeg numbers what can be beside a frame from 0 on; it has 35 so far.
MOST_KINDS = 64


def read_matrix(frame: Any) -> bytes | None:
    """Get the display matrix of a frame.

    Args:
        frame: PyAV's frame.

    Returns:
        Nine numbers of 32 bits; None if there is none.
    """
    try:
        matrix = frame.side_data.get('DISPLAYMATRIX')
    except ValueError:
        # PyAV reads all that is beside a frame or nothing, and does not know
        # what has been added to FFmpeg since, as EXIF.
        matrix = _keep_known(frame).side_data.get('DISPLAYMATRIX')
    return None if matrix is None else bytes(matrix)


def _keep_known(frame: Any) -> Any:
    """Drop what is beside a frame and has no name in PyAV."""
    from av.filter import Graph
    from av.sidedata.sidedata import Type

    graph = Graph()
    known = {kind.value for kind in Type}
    filters = [
        graph.add_buffer(
            width=frame.width,
            height=frame.height,
            format=frame.format,
            time_base=frame.time_base or 1,
        ),
        *(
            graph.add('sidedata', mode='delete', type=str(number))
            for number in range(MOST_KINDS)
            if number not in known
        ),
        graph.add('buffersink'),
    ]
    for source, target in pairwise(filters):
        source.link_to(target)
    graph.configure()
    graph.push(frame)
    return graph.pull()


class PictureStack:
    """An array of pictures that is filled while a video is decoded.

    Args:
        numbers: Of which frame each row is to be; repeats are allowed.
        maker: Converts the frames.
    """

    def __init__(self, numbers: Sequence[int], maker: PictureMaker) -> None:
        self._maker = maker
        self._count = len(numbers)
        self._rows: dict[int, list[int]] = defaultdict(list)
        for row, number in enumerate(numbers):
            self._rows[number].append(row)
        self._pictures: np.ndarray | None = None

    @property
    def is_full(self) -> bool:
        """Whether all pictures are there."""
        return not self._rows

    def offer(self, number: int, frame: Any) -> None:
        """Take a frame if it is wanted.

        Args:
            number: Its number.
            frame: PyAV's frame.
        """
        self._maker.look_at(frame)
        rows = self._rows.pop(number, None)
        if rows is None:
            return
        if self._pictures is None:
            shape = self._count, *self._maker.shape
            self._pictures = np.empty(shape, np.uint8)
        first, *others = rows
        self._maker.make(frame, self._pictures[first])
        self._pictures[others] = self._pictures[first]

    def take(self) -> np.ndarray:
        """Hand over the pictures, once all are there.

        Returns:
            Shape (number of rows, H, W, 3), uint8, RGB.

        Raises:
            ValueError: If no frame was asked for.
        """
        if self._pictures is None:
            raise ValueError('no frame was asked for')
        return self._pictures
