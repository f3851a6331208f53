"""Frames of a video file, decoded in order by FFmpeg through PyAV."""

import functools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmtvr.files import FileStamp
from mmtvr.video.frames import FrameConverter, FrameStack
from mmtvr.video.mp4 import check_end
from mmtvr.video.opening import name_failures, open_video
from mmtvr.video.reader import UnreadableVideoError, VideoReader

#: Decoded frames are kept up to so many bytes while they are counted.
MAX_FRAME_BYTES = 128 * 2**20
# Here packets count as damaged beside a gap, also where parts were joined.
GAPS_LOOK_DAMAGED = ('mpegts', 'mpeg')


@dataclass
class FileRecord:
    """What was found out about a file while this process has been running.

    Attributes:
        in_order: Why it must be read in order; empty for a file that need
            not, None if nobody has looked.
        needs_probing: Whether FFmpeg must decode the first frames when the
            file is opened, since container and settings did not say enough.
        times: Shape (number of frames,), seconds since the first frame, of a
            file that was decoded to the end.
    """

    in_order: str | None = None
    needs_probing: bool = False
    times: np.ndarray | None = None


def recall(path: str) -> FileRecord:
    """Get the record of a file, to be added to.

    It is forgotten when size or time of the file change. That of a file that
    cannot be found is not kept.
    """
    try:
        stamp = FileStamp.of(os.stat(path))
    except OSError:
        return FileRecord()
    return _get_record(os.path.abspath(path), stamp)


@functools.lru_cache(maxsize=4096)
def _get_record(path: str, stamp: FileStamp) -> FileRecord:
    return FileRecord()


class StreamReader(VideoReader):
    """The best video stream of a file, and what converts its frames.

    Args:
        path: The video file.
        short_side: See :class:`VideoReader`.
        probe_decoder: See :func:`open_video`.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        short_side: int | None = None,
        probe_decoder: bool = True,
    ) -> None:
        super().__init__(path, short_side)
        self._converter = FrameConverter(short_side)
        self._container, self._stream = open_video(self.path, probe_decoder)

    @property
    def original_shape(self) -> tuple[int, int]:
        """Height and width of the first frame, as it is displayed."""
        self._see_first()
        return self._converter.shown_shape

    @property
    def fps(self) -> float:
        """Frames per second, on average; 0 where the file does not say."""
        return float(self._stream.average_rate or 0)

    @property
    def codec(self) -> str:
        """FFmpeg's name of the format, as ``'h264'``."""
        return self._stream.codec_context.codec.canonical_name

    @property
    def rotation(self) -> int:
        """Degrees, anticlockwise, by which stored frames were turned."""
        self._see_first()
        return self._converter.orientation.degrees

    @property
    def has_frames(self) -> bool:
        """Whether a frame was decoded, so that size and rotation are known."""
        return self._converter.stored_shape is not None

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def _check(self, indices: Sequence[int]) -> list[int]:
        order = [int(index) for index in indices]
        if order and not 0 <= min(order) <= max(order) < len(self):
            raise IndexError(
                f'{self.path}: it has {len(self)} frames; asked for '
                f'{min(order)} to {max(order)}'
            )
        return order

    def _see_first(self) -> None:
        if not self.has_frames:
            self.get_frames([0])


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
            self._record = recall(self.path)
            if self._record.times is None:
                self._record.times = self._decode_all()
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        """Number of frames that the decoder gives, at least one."""
        return len(self._record.times)

    def get_frames(self, indices: Sequence[int]) -> np.ndarray:
        """Decode frames, see :class:`VideoReader`."""
        stack = FrameStack(self._check(indices), self._converter)
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
        """Return when each frame is shown, see :class:`VideoReader`."""
        return self._record.times.copy()

    def close(self) -> None:
        """Close the file."""
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

    def _decode_all(self) -> np.ndarray:
        """Decode everything, keep it if it fits, and return the times."""
        times, size = [], 0
        self._kept = []
        with name_failures(self.path):
            for frame in decode_in_order(self._container, self._stream):
                self._converter.see(frame)
                times.append(frame.time)
                size += sum(plane.buffer_size for plane in frame.planes)
                if size > MAX_FRAME_BYTES:
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
    reports_damage = container.format.name not in GAPS_LOOK_DAMAGED
    for packet in container.demux(stream):
        if _changes_size(stream.codec_context, packet):
            # The MPEG decoder loses the frame that it still holds.
            yield from _make_end_packet(stream).decode()
            stream.codec_context.flush_buffers()
        begun |= packet.is_keyframe
        count += bool(packet.size)
        if packet.pts is not None and not packet.is_discard:
            pts.append(packet.pts)
        if packet.is_corrupt and begun and reports_damage:
            raise ValueError('a packet is damaged or cut off')
        try:
            yield from packet.decode()
        except av.InvalidDataError:
            # What precedes the first keyframe refers to what was cut off.
            if begun or not packet.size:
                raise
    check_end(container, stream, count, pts)


def _changes_size(codec: Any, packet: Any) -> bool:
    """Whether a sequence header of MPEG-1 or MPEG-2 brings another size."""
    if codec.name not in ('mpeg1video', 'mpeg2video') or not packet.size:
        return False
    data = bytes(packet)
    place = data.find(b'\0\0\1\xb3') + 4
    if place < 4 or place + 3 > len(data):
        return False
    # Two more bits of each are elsewhere: ISO/IEC 13818-2, 6.3.3.
    both = int.from_bytes(data[place : place + 3], 'big')
    size = codec.width % 4096, codec.height % 4096
    return size != (both >> 12, both & 4095)


def _make_end_packet(stream: Any) -> Any:
    """Make the packet behind which a decoder gives what it still holds."""
    import av

    packet = av.Packet()
    # Of this PyAV takes the unit of the times of the frames.
    packet.stream, packet.time_base = stream, stream.time_base
    return packet


def times_from_first(times: Sequence[float | None], fps: float) -> np.ndarray:
    """Make times ascend from zero.

    Args:
        times: Seconds of the frames in the order of display.
        fps: Frames per second, for those that have no time; 0 if unknown.

    Returns:
        Shape (number of frames,), seconds. Where a time is missing or not
        behind the one before, all are computed from ``fps``, or from 25.
    """
    known = np.array([np.nan if t is None else t for t in times], float)
    if np.isnan(known).any() or (np.diff(known) <= 0).any():
        return np.arange(len(known)) / (fps or 25.0)
    return known - known[0]
