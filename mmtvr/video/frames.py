"""From decoded frames to upright RGB arrays of the asked size."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from mmtvr.video.reader import reduced_size, resize_frame

# FFmpeg's scaler filters with every pixel that it leaves out, so that it is
# dearer than OpenCV's for a small reduction and cheaper for a large one.
SCALE_WHILE_CONVERTING = 2 / 3
# Scaled so, frames take half the time of packed RGB, and each pixel gets a
# colour of its own rather than one for two. The planes are green, blue, red.
PLANES, RED_GREEN_BLUE = 'gbrp', (2, 0, 1)
# FFmpeg numbers kinds of side data from 0 on; it has 35 so far.
SIDE_DATA_KINDS = 64


class Orientation(NamedTuple):
    """How frames are turned and mirrored before they are shown.

    Attributes:
        degrees: Anticlockwise: 0, 90, 180 or -90.
        mirrored: Swap left and right of the result.
    """

    degrees: int = 0
    mirrored: bool = False

    @classmethod
    def of_frame(cls, frame: Any) -> 'Orientation':
        """The nearest one by right angles to the display matrix of a frame."""
        matrix = _read_display_matrix(frame)
        if matrix is None:
            return cls()
        a, b, _, c, d = np.frombuffer(matrix, '<i4')[:5] / 65536
        mirrored = a * d - b * c < 0
        if mirrored:
            a = -a
        quarters = round(np.degrees(np.arctan2(-b, a)) / 90) % 4
        return cls((0, 90, 180, -90)[quarters], bool(mirrored))

    def apply(self, frame: np.ndarray) -> np.ndarray:
        """Turn a frame of shape (H, W, 3)."""
        if self.degrees:
            frame = np.rot90(frame, self.degrees // 90)
        return frame[:, ::-1] if self.mirrored else frame


class FrameConverter:
    """Converts the frames of one video.

    All get the size and the orientation of the first, also where the video
    changes its size.

    Args:
        short_side: See :class:`mmtvr.video.VideoReader`.
    """

    def __init__(self, short_side: int | None) -> None:
        from av.video.reformatter import VideoReformatter

        self._reformatter = VideoReformatter()
        self._short_side = short_side
        #: Height and width of the first frame; None before it came.
        self.stored_shape: tuple[int, int] | None = None
        self.orientation = Orientation()

    @property
    def shown_shape(self) -> tuple[int, int]:
        """Height and width of an upright frame before it is reduced."""
        return self._turn(self.stored_shape)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the arrays that :meth:`convert` fills."""
        return *self._turn(self._reduced_shape), 3

    @property
    def _reduced_shape(self) -> tuple[int, int]:
        shape = self.stored_shape
        return reduced_size(shape, self._short_side) or shape

    def _turn(self, shape: tuple[int, int]) -> tuple[int, int]:
        height, width = shape
        return (width, height) if self.orientation.degrees % 180 else shape

    def see(self, frame: Any) -> None:
        """Take size and orientation from the first frame."""
        if self.stored_shape is None:
            self.stored_shape = frame.height, frame.width
            self.orientation = Orientation.of_frame(frame)

    def convert(self, frame: Any, into: np.ndarray) -> None:
        """Convert PyAV's frame into a contiguous array of ``shape``."""
        if self.orientation == Orientation():
            self._convert_as_stored(frame, into)
            return
        array = np.empty((*self._reduced_shape, 3), np.uint8)
        self._convert_as_stored(frame, array)
        into[...] = self.orientation.apply(array)

    def _convert_as_stored(self, frame: Any, into: np.ndarray) -> None:
        size = into.shape[:2]
        if size[0] / self.stored_shape[0] > SCALE_WHILE_CONVERTING:
            (plane,) = self._reformat(frame, self.stored_shape, 'rgb24')
            array = plane.reshape(*self.stored_shape, 3)
            if size == self.stored_shape:
                into[...] = array
            else:
                resize_frame(array, into)
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


class FrameStack:
    """An array of frames that is filled while a video is decoded.

    Args:
        numbers: Of which frame each row is to be; repeats are allowed.
        converter: Converts the frames.
    """

    def __init__(
        self, numbers: Sequence[int], converter: FrameConverter
    ) -> None:
        self._converter = converter
        self._count = len(numbers)
        self._rows: dict[int, list[int]] = defaultdict(list)
        for row, number in enumerate(numbers):
            self._rows[number].append(row)
        self._frames: np.ndarray | None = None

    @property
    def is_full(self) -> bool:
        """Whether all frames are there."""
        return not self._rows

    def offer(self, number: int, frame: Any) -> None:
        """Take PyAV's frame if it is wanted."""
        self._converter.see(frame)
        rows = self._rows.pop(number, None)
        if rows is None:
            return
        if self._frames is None:
            shape = self._count, *self._converter.shape
            self._frames = np.empty(shape, np.uint8)
        first, *others = rows
        self._converter.convert(frame, self._frames[first])
        self._frames[others] = self._frames[first]

    def take(self) -> np.ndarray:
        """Return the frames, once all are there.

        Returns:
            Shape (number of rows, H, W, 3), uint8, RGB.

        Raises:
            ValueError: If no frame was asked for.
        """
        if self._frames is None:
            raise ValueError('no frame was asked for')
        return self._frames


def _read_display_matrix(frame: Any) -> bytes | None:
    """Get nine numbers of 32 bits; None if there is no matrix."""
    try:
        matrix = frame.side_data.get('DISPLAYMATRIX')
    except ValueError:
        # PyAV 18 reads all side data or none, and does not know what has
        # been added to FFmpeg since, as EXIF.
        matrix = _keep_known_side_data(frame).side_data.get('DISPLAYMATRIX')
    return None if matrix is None else bytes(matrix)


def _keep_known_side_data(frame: Any) -> Any:
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
            for number in range(SIDE_DATA_KINDS)
            if number not in known
        ),
        graph.add('buffersink'),
    ]
    for source, target in pairwise(filters):
        source.link_to(target)
    graph.configure()
    graph.push(frame)
    return graph.pull()
