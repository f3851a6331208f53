"""Which frames of a video stand for it."""

from dataclasses import dataclass

import numpy as np

from mmtvr.video import UnreadableVideoError, VideoReader
from mmtvr.video.cache import CachedReader
from mmtvr.video.sampling import (
    fill_up,
    sample_per_second,
    sample_uniformly,
    segment_bounds,
)
from mmtvr.video.spans import find_span


@dataclass(frozen=True)
class FrameChoice:
    """How positions are chosen; see ``LoadVideoFrames`` for the options.

    Attributes:
        num_frames: T.
        sampling: ``'uniform'`` or ``'fps'``.
        fps: Frames per second of the latter.
        short_videos: ``'repeat'`` or ``'mask'``.

    Raises:
        ValueError: If one of them is out of its range.
    """

    num_frames: int
    sampling: str
    fps: float
    short_videos: str

    def __post_init__(self) -> None:
        if self.num_frames < 1:
            raise ValueError(
                f'num_frames must be positive, got {self.num_frames}'
            )
        if self.fps <= 0:
            raise ValueError(f'fps must be positive, got {self.fps}')
        if self.sampling not in ('uniform', 'fps'):
            raise ValueError(
                f"sampling is 'uniform' or 'fps', not {self.sampling!r}"
            )
        if self.short_videos not in ('repeat', 'mask'):
            raise ValueError(
                f"short_videos is 'repeat' or 'mask', not "
                f'{self.short_videos!r}'
            )

    def choose(
        self, reader: VideoReader, results: dict, random: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Choose frames.

        Args:
            reader: The video. From one of a cache, random frames are those
                that it keeps.
            results: The sample: ``filename``, and ``start`` and ``end`` of
                its time span if it has one.
            random: Draw a frame of each segment; False: take its centre.

        Returns:
            Positions in the file, shape (T,), int64, and where there is a
            frame, shape (T,), bool.

        Raises:
            UnreadableVideoError: If the span begins behind the last frame.
        """
        first, count = self._find_span(reader, results)
        if self.sampling == 'fps':
            times = reader.get_times()[first : first + count]
            chosen = sample_per_second(times, self.num_frames, self.fps)
            return fill_up(first + chosen, self.num_frames, self.short_videos)
        if count < self.num_frames:
            every = first + np.arange(count)
            return fill_up(every, self.num_frames, self.short_videos)
        indices = first + sample_uniformly(count, self.num_frames, random)
        if random and isinstance(reader, CachedReader):
            bounds = first + segment_bounds(count, self.num_frames)
            indices = reader.move_to_kept(indices, bounds)
        return indices, np.ones(self.num_frames, dtype=bool)

    def _find_span(
        self, reader: VideoReader, results: dict
    ) -> tuple[int, int]:
        start, end = results.get('start'), results.get('end')
        if 'start' not in results and 'end' not in results:
            return 0, len(reader)
        try:
            return find_span(reader.get_times(), start, end)
        except ValueError as error:
            raise UnreadableVideoError(
                f'{results["filename"]}: {error}'
            ) from error
