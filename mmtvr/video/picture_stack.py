"""The frames that were asked for, put where they belong as they come."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from mmtvr.video.pictures import PictureMaker


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
