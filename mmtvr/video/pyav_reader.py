"""Frames of a video file, decoded one after the other by FFmpeg."""

import os
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from mmtvr.video.frames import PictureMaker, PictureStack
from mmtvr.video.mp4 import check_end
from mmtvr.video.opening import name_failures, open_video
from mmtvr.video.packets import UNKNOWN_TIME, PacketTable, make_table
from mmtvr.video.reader import UnreadableVideoError, VideoReader
from mmtvr.video.trust import find_beginnings, why_in_order, why_not_known


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


CAPACITY = 4096


@dataclass
class Findings:
    """What was found out about one file.

    Attributes:
        in_order: Why it must be read in order; an empty text for a file that
            need not, None if nobody has looked.
        needs_trial: Whether the first pictures must be decoded to know how,
            since container and settings did not tell all or were wrong.
        times: Shape (number of frames,), seconds since the first frame, of a
            file that was decoded to the end.
    """

    in_order: str | None = None
    needs_trial: bool = False
    times: np.ndarray | None = None


class FileMemory:
    """Findings by file, as long as its size and its time stay.

    Args:
        capacity: Number of files; the one that was not asked for the longest
            makes room.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self.capacity = capacity
        self._findings: OrderedDict[Any, Findings] = OrderedDict()

    def __len__(self) -> int:
        return len(self._findings)

    def recall(self, path: str) -> Findings:
        """Look a file up.

        Args:
            path: A file.

        Returns:
            What is known of it, to be added to; nothing for a new file, and
            nothing that is kept for one that cannot be found.
        """
        try:
            status = os.stat(path)
        except OSError:
            return Findings()
        key = os.path.abspath(path), status.st_size, status.st_mtime_ns
        findings = self._findings.setdefault(key, Findings())
        self._findings.move_to_end(key)
        if len(self._findings) > self.capacity:
            self._findings.popitem(last=False)
        return findings


#: Of this process.
MEMORY = FileMemory()


CODECS = ('mpeg1video', 'mpeg2video')
SEQUENCE = b'\0\0\1\xb3'


def changes_size(codec: Any, packet: Any) -> bool:
    """Look for the head of a sequence with another size.

    Args:
        codec: PyAV's context of the decoder.
        packet: The packet that it gets next.

    Returns:
        Whether its pictures are not as large as those before.
    """
    if codec.name not in CODECS or not packet.size:
        return False
    data = bytes(packet)
    place = data.find(SEQUENCE) + len(SEQUENCE)
    if place < len(SEQUENCE) or place + 3 > len(data):
        return False
    # Two more bits of each are elsewhere: ISO/IEC 13818-2, 6.3.3.
    both = int.from_bytes(data[place : place + 3], 'big')
    size = codec.width % 4096, codec.height % 4096
    return size != (both >> 12, both & 4095)


#: Decoded frames are kept up to so many bytes while they are counted.
MAX_FRAME_BYTES = 128 * 2**20
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


#: Packets up to so many bytes stay in memory from the first look on.
MAX_PACKET_BYTES = 64 * 2**20


class MustReadInOrderError(Exception):
    """A file whose frames cannot be had one by one; the message says why.

    Args:
        reason: Why.
        for_good: Whether that stays so when decoders are tried.
    """

    def __init__(self, reason: str, for_good: bool = False) -> None:
        super().__init__(reason)
        self.for_good = for_good


class SelectiveReader(StreamReader):
    """A video file of which single frames are decoded, exactly.

    All packets are read first, which takes little. Then only those parts are
    decoded that begin with a closed keyframe and hold a wanted frame, up to
    that frame, without the pictures that no other refers to. Nothing is
    sought: a part is fed to the decoder packet by packet, and must come out
    frame by frame, in the order of time.

    Args:
        path: The video file.
        short_side: See :class:`VideoReader`.
        try_decoders: See :func:`open_video`. False opens several times as
            fast; where what was not found out matters, reading the frames
            raises.

    Raises:
        UnreadableVideoError: If the file cannot be opened.
        MustReadInOrderError: If :func:`why_in_order` has a reason. Also
            raised later, where the decoder does not do what was expected.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        short_side: int | None = None,
        try_decoders: bool = True,
    ) -> None:
        super().__init__(path, short_side, try_decoders)
        #: Whether decoders were tried when it was opened.
        self.try_decoders = try_decoders
        try:
            reason = why_not_known(self._container.format.name, self.codec)
            if reason is not None:
                raise MustReadInOrderError(reason, for_good=True)
            self._packets: list[Any] | None = []
            with name_failures(self.path):
                self._table = self._read_packets()
            reason = why_in_order(self._table)
            if reason is not None:
                # Of edits and damage the demuxer alone decides.
                raise MustReadInOrderError(reason, bool(self._table.odd.any()))
            self._order = np.argsort(self._table.pts)
            self._beginnings = find_beginnings(self._table)
            codec = self._stream.codec_context
            self._shape = codec.height, codec.width
        except BaseException:
            self._container.close()
            raise

    def __len__(self) -> int:
        """Number of frames, at least one."""
        return len(self._table.pts)

    def get_times(self) -> np.ndarray:
        """Tell when each frame is shown, see :class:`VideoReader`."""
        pts = self._table.pts[self._order]
        return (pts - pts[0]) * float(self._stream.time_base)

    def get_frames(self, indices: Sequence[int]) -> np.ndarray:
        """Decode frames, see :class:`VideoReader`."""
        order = np.array(self._check(indices), np.int64)
        wanted = self._order[order]
        plan = self._plan(wanted)
        stack = PictureStack(wanted.tolist(), self._maker)
        with name_failures(self.path), closing(self._fetch(plan)) as packets:
            for part in plan:
                self._decode(part, packets, stack)
        return stack.take()

    def close(self) -> None:
        """Let go of the file."""
        self._packets = None
        super().close()

    def _read_packets(self) -> PacketTable:
        table = make_table(self._container, self._stream, self._keep())
        times = table.pts[(table.pts != UNKNOWN_TIME) & ~table.odd]
        check_end(
            self._container, self._stream, len(table.pts), times.tolist()
        )
        return table

    def _keep(self) -> Iterator[Any]:
        size = 0
        for packet in self._container.demux(self._stream):
            if not packet.size:
                continue
            size += packet.size
            if size > MAX_PACKET_BYTES:
                self._packets = None
            elif self._packets is not None:
                self._packets.append(packet)
            yield packet

    def _plan(self, wanted: np.ndarray) -> list[np.ndarray]:
        """Choose packets to decode.

        Args:
            wanted: Packets of the wanted frames.

        Returns:
            For each part, its packets in decoding order.
        """
        needed = ~self._table.droppable
        needed[wanted] = True
        parts = np.searchsorted(self._beginnings, wanted, side='right') - 1
        plan = []
        for part in np.unique(parts):
            begin = self._beginnings[part]
            end = wanted[parts == part].max() + 1
            plan.append(begin + np.flatnonzero(needed[begin:end]))
        return plan

    def _decode(
        self,
        part: np.ndarray,
        packets: Iterator[Any],
        stack: PictureStack,
    ) -> None:
        """Decode one part and convert its wanted frames."""
        frames = self._feed(islice(packets, len(part)))
        shown = part[np.argsort(self._table.pts[part])]
        times = self._table.pts[shown].tolist()
        for number, time in zip(shown.tolist(), times, strict=True):
            frame = next(frames, None)
            if frame is None or frame.pts != time:
                raise MustReadInOrderError('frames that were not expected')
            if frame.is_corrupt:
                raise MustReadInOrderError('frames without what they refer to')
            if (frame.height, frame.width) != self._shape:
                raise MustReadInOrderError('a change of the size')
            stack.offer(number, frame)
        if next(frames, None) is not None:
            raise MustReadInOrderError('more frames than packets')
        self._stream.codec_context.flush_buffers()

    def _feed(self, packets: Iterable[Any]) -> Iterator[Any]:
        codec = self._stream.codec_context
        for packet in packets:
            yield from codec.decode(packet)
        yield from codec.decode(None)

    def _fetch(self, plan: Sequence[np.ndarray]) -> Iterator[Any]:
        """Get packets from memory, or from the file once more."""
        numbers = [number for part in plan for number in part.tolist()]
        if self._packets is not None:
            yield from (self._packets[number] for number in numbers)
            return
        container, stream = open_video(self.path, self.try_decoders)
        with container:
            packets = (p for p in container.demux(stream) if p.size)
            next_number = 0
            for number in numbers:
                yield next(islice(packets, number - next_number, None))
                next_number = number + 1


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
