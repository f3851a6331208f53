"""A video as a cache entry holds it."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from mmtvr.video.cache.jpeg import decode_jpeg
from mmtvr.video.cache.shard import Place, Shard

PROPERTIES = ('count', 'original_shape', 'fps', 'codec', 'rotation')


class StoredVideo:
    """An entry, of which only what is asked for is read and checked.

    Args:
        shard: The tar file.
        place: Where the entry lies in it.

    Raises:
        DamagedEntryError: If the facts are not those that were written.
    """

    def __init__(self, shard: Shard, place: Place) -> None:
        self._shard = shard
        #: Where the entry lies.
        self.place = place
        content = np.empty(place.facts_size, np.uint8)
        shard.read_into(content, place.facts_offset, place.facts_check)
        #: What is known of the video and was asked for.
        self.facts: dict[str, Any] = json.loads(content.tobytes())

    @property
    def properties(self) -> dict[str, Any]:
        """Those of a reader that are known, and the number of frames."""
        return {
            name: self.facts[name] for name in PROPERTIES if name in self.facts
        }

    def get_frames(self, indices: Sequence[int]) -> np.ndarray | None:
        """Read frames.

        Args:
            indices: Positions in the video, in any order.

        Returns:
            Shape (T, H, W, 3), uint8; None if one of them is not stored.

        Raises:
            DamagedEntryError: If they are not those that were written.
        """
        rows = {index: row for row, index in enumerate(self.facts['indices'])}
        if not all(int(index) in rows for index in indices):
            return None
        frames = np.empty((len(indices), *self.facts['shape']), np.uint8)
        pictures = self.facts['request']['quality'] is not None
        for frame, index in zip(frames, indices, strict=True):
            begin, size, check = self.facts['frames'][rows[int(index)]]
            if pictures:
                frame[:] = decode_jpeg(self._read(begin, size, check))
            else:
                self._shard.read_into(
                    frame.reshape(-1), self.place.offset + begin, check
                )
        return frames

    def get_times(self) -> np.ndarray | None:
        """Read when the frames of the video are shown.

        Returns:
            Shape (number of frames of the video,), seconds; None if it was
            not stored.

        Raises:
            DamagedEntryError: If they are not those that were written.
        """
        if 'times' not in self.facts:
            return None
        return self._read(*self.facts['times']).view(np.float64)

    def _read(self, begin: int, size: int, check: int) -> np.ndarray:
        content = np.empty(size, np.uint8)
        self._shard.read_into(content, self.place.offset + begin, check)
        return content
