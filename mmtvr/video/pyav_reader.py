"""Frames of a video file, decoded one after the other by FFmpeg."""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from mmtvr.video.completeness import check_end
from mmtvr.video.file_memory import MEMORY
from mmtvr.video.mpeg_sizes import changes_size
from mmtvr.video.opening import name_failures, open_video
from mmtvr.video.picture_stack import PictureStack
from mmtvr.video.reader import UnreadableVideoError
from mmtvr.video.stream_reader import StreamReader

#: Decoded frames are kept up to so many bytes while they are counted.
KEPT_BYTES = 128 * 2**20
# Here packets count as damaged beside a gap, also where parts were joined.
MARK_GAPS = ('mpegts', 'mpeg')


class PyAVReader(StreamReader):
    """A video file read in order, from its first frame to the last asked.

    Frames are counted as they leave the decoder, which no header, time or
    index can contradict: the reference for all other readers. The first look
    at a file decodes all of it; how many frames it has is then remembered.

    Args:
        path: The video file.
        short_side: See :class:`VideoReader`.

    Raises:
        UnreadableVideoError: If the file cannot be opened, if its decoder
            reports damage, or if there is no frame in it.
    """

    def __init__(
        self, path: str | os.PathLike, short_side: int | None = None
    ) -> None:
        super().__init__(path, short_side)
        self._kept: list[Any] | None = None
        try:
            self._findings = MEMORY.recall(self.path)
            if self._findings.times is None:
                self._findings.times = self._look_through()
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        """Number of frames that the decoder gives, at least one."""
        return len(self._findings.times)

    def get_frames(self, indices: Sequence[int]) -> np.ndarray:
        """Decode frames, see :class:`VideoReader`."""
        order = self._check(indices)
        stack = PictureStack(order, self._maker)
        with name_failures(self.path):
            for index, frame in enumerate(self._frames()):
                stack.offer(index, frame)
                if stack.is_full:
                    break
        if not stack.is_full:
            raise UnreadableVideoError(
                f'{self.path}: it has changed while it was read'
            )
        return stack.take()

    def get_times(self) -> np.ndarray:
        """Tell when each frame is shown, see :class:`VideoReader`."""
        return self._findings.times.copy()

    def close(self) -> None:
        """Let go of the file."""
        self._kept = None
        super().close()

    def _frames(self) -> Iterator[Any]:
        if self._kept is not None:
            yield from self._kept
            return
        container, stream = open_video(self.path)
        # Only now, so that no closed one stays if that fails.
        self._container.close()
        self._container, self._stream = container, stream
        yield from decode_in_order(self._container, self._stream)

    def _look_through(self) -> np.ndarray:
        """Decode everything, keep it if it fits, and note the times."""
        times, size = [], 0
        self._kept = []
        with name_failures(self.path):
            for frame in decode_in_order(self._container, self._stream):
                self._maker.look_at(frame)
                times.append(frame.time)
                size += sum(plane.buffer_size for plane in frame.planes)
                if size > KEPT_BYTES:
                    self._kept = None
                elif self._kept is not None:
                    self._kept.append(frame)
        if not times:
            raise UnreadableVideoError(f'{self.path}: it holds no frame')
        return times_from_first(times, self.fps)


def decode_in_order(container: Any, stream: Any) -> Iterator[Any]:
    """Decode all frames.

    Args:
        container: PyAV's container, at its beginning.
        stream: Its video stream.

    Yields:
        PyAV's frames, in the order of display.

    Raises:
        ValueError: If a packet behind the first keyframe is damaged, or if
            packets are missing at the end.
    """
    import av

    begun, count, pts = False, 0, []
    marks_damage = container.format.name not in MARK_GAPS
    for packet in container.demux(stream):
        if changes_size(stream.codec_context, packet):
            # Its decoder loses the picture that it still holds.
            yield from _end_packet(stream).decode()
            stream.codec_context.flush_buffers()
        begun |= packet.is_keyframe
        count += bool(packet.size)
        if packet.pts is not None and not packet.is_discard:
            pts.append(packet.pts)
        if packet.is_corrupt and begun and marks_damage:
            raise ValueError('a packet is damaged or cut off')
        try:
            yield from packet.decode()
        except av.InvalidDataError:
            # What precedes the first keyframe refers to what was cut off.
            if begun or not packet.size:
                raise
    check_end(container, stream, count, pts)


def _end_packet(stream: Any) -> Any:
    """Make the packet behind which a decoder gives what it still holds."""
    import av

    packet = av.Packet()
    # Of this PyAV tells the unit of the times of the frames.
    packet.stream, packet.time_base = stream, stream.time_base
    return packet


def times_from_first(times: Sequence[float | None], fps: float) -> np.ndarray:
    """Make times ascend from zero.

    Args:
        times: Seconds of the frames in the order of display.
        fps: Frames per second, for those that have no time; 0 if unknown.

    Returns:
        Shape (number of frames,), seconds. Where a time is missing or not
        behind the one before, all are told from ``fps``, or from 25.
    """
    known = np.array([np.nan if t is None else t for t in times], float)
    if np.isnan(known).any() or (np.diff(known) <= 0).any():
        return np.arange(len(known)) / (fps or 25.0)
    return known - known[0]
