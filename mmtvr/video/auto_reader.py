"""Frames of a video file, decoding only what they need where that is exact."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from itertools import islice, pairwise
from typing import Any

import numpy as np

from mmtvr.video.animation_reader import AnimationReader, find_kind
from mmtvr.video.frames import FrameStack
from mmtvr.video.mp4 import check_end
from mmtvr.video.opening import name_failures, open_video
from mmtvr.video.pyav_reader import PyAVReader, StreamReader, recall
from mmtvr.video.reader import UnreadableVideoError, VideoReader

#: Packets up to so many bytes stay in memory from the first look on.
MAX_PACKET_BYTES = 64 * 2**20
# Shown exact against stamped files, see docs/explanation/video.md. A format
# that is not here is read in order, which is right for all of them.
CONTAINERS = ('mov,mp4,m4a,3gp,3g2,mj2', 'matroska,webm')
CODECS = ('h264', 'hevc', 'vp8', 'vp9')
# Bytes of the decoder's settings up to what is read of them.
MIN_EXTRADATA = dict(h264=7, hevc=23)
# Of Rec. ITU-T H.264, 7.3.2.1.1.
HIGH_PROFILES = (44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244)


class MustReadInOrderError(Exception):
    """A file whose frames cannot be had one by one; the message says why.

    Args:
        reason: Why.
        may_change: Whether that may be different once FFmpeg has decoded the
            first frames.
    """

    def __init__(self, reason: str, may_change: bool = False) -> None:
        super().__init__(reason)
        self.may_change = may_change


class SelectiveReader(StreamReader):
    """A video file of which single frames are decoded, exactly.

    All packets are read first, which takes little. Decoding then begins at
    the last keyframe before a wanted frame and ends with that frame; frames
    to which no other refers are skipped unless they are wanted. Nothing is
    sought: packets are fed to the decoder one by one.

    Raises:
        MustReadInOrderError: If packets are not one frame each, or decoding
            cannot begin where the file says so. Also raised later, where the
            decoder does not give the frames that were expected.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        short_side: int | None = None,
        probe_decoder: bool = True,
    ) -> None:
        super().__init__(path, short_side, probe_decoder)
        self.probe_decoder = probe_decoder
        codec = self._stream.codec_context
        extradata = codec.extradata or b''
        try:
            reason = _why_not_selective(
                self._container.format.name, self.codec, extradata
            )
            if reason:
                raise MustReadInOrderError(reason)
            # Frames of a higher temporal layer refer to any of a lower one.
            self._skips = self.codec != 'hevc' or extradata[21] >> 3 & 7 == 1
            self._packets: list[Any] | None = []
            with name_failures(self.path):
                self._pts, is_key = self._read_packets()
            self._order = np.argsort(self._pts)
            self._starts = find_starts(self._pts, is_key)
            self._shape = codec.height, codec.width
        except BaseException:
            self._container.close()
            raise

    def __len__(self) -> int:
        """Number of frames, at least one."""
        return len(self._pts)

    def get_times(self) -> np.ndarray:
        """Return when each frame is shown, see :class:`VideoReader`."""
        pts = self._pts[self._order]
        return (pts - pts[0]) * float(self._stream.time_base)

    def get_frames(self, indices: Sequence[int]) -> np.ndarray:
        """Decode frames, see :class:`VideoReader`."""
        wanted = self._order[np.array(self._check(indices), np.int64)]
        stack = FrameStack(wanted.tolist(), self._converter)
        parts = np.searchsorted(self._starts, wanted, side='right') - 1
        with name_failures(self.path), closing(self._replay()) as packets:
            done = 0
            for part in np.unique(parts):
                numbers = np.unique(wanted[parts == part]).tolist()
                start, end = int(self._starts[part]), numbers[-1] + 1
                group = islice(packets, start - done, end - done)
                self._decode(enumerate(group, start), numbers, stack)
                done = end
        return stack.take()

    def close(self) -> None:
        """Close the file."""
        self._packets = None
        super().close()

    def _read_packets(self) -> tuple[np.ndarray, np.ndarray]:
        """Read all packets; their times, and which are keyframes."""
        shows_one_frame = _get_frame_check(self._stream)
        pts, dts, is_key, shown = [], [], [], []
        size, reason = 0, ''
        for packet in self._container.demux(self._stream):
            if not packet.size:
                continue
            pts.append(packet.pts)
            dts.append(packet.dts)
            is_key.append(packet.is_keyframe)
            if _is_odd(packet):
                reason = 'an edit list, damage or new settings on the way'
                continue
            shown.append(packet.pts)
            if not reason and not shows_one_frame(packet):
                reason = 'packets that are not one frame each'
            size += packet.size
            if reason or size > MAX_PACKET_BYTES:
                self._packets = None
            elif self._packets is not None:
                self._packets.append(packet)
        known = [time for time in shown if time is not None]
        check_end(self._container, self._stream, len(pts), known)
        if reason:
            raise MustReadInOrderError(reason)
        _check_order(pts, dts, is_key)
        return np.array(pts, np.int64), np.array(is_key, bool)

    def _decode(
        self,
        packets: Iterable[tuple[int, Any]],
        numbers: Sequence[int],
        stack: FrameStack,
    ) -> None:
        """Decode packets from a keyframe on, and convert wanted frames.

        Args:
            packets: Packets with their numbers.
            numbers: Those of the wanted frames, ascending.
            stack: Takes the frames.
        """
        expected = {int(self._pts[number]): number for number in numbers}
        last = None
        for first, frame in self._feed(packets, set(numbers)):
            # A decoder that cannot begin here leaves out some frames.
            if frame.pts is None or (
                frame.pts != first if last is None else frame.pts <= last
            ):
                raise MustReadInOrderError(
                    'frames that were not expected', True
                )
            last = frame.pts
            if frame.is_corrupt:
                raise MustReadInOrderError(
                    'frames without what they refer to', True
                )
            if (frame.height, frame.width) != self._shape:
                raise MustReadInOrderError('a change of the size', True)
            number = expected.pop(frame.pts, None)
            if number is not None:
                stack.offer(number, frame)
        if expected:
            raise MustReadInOrderError('frames that were not expected', True)
        self._stream.codec_context.flush_buffers()

    def _feed(
        self, packets: Iterable[tuple[int, Any]], wanted: set[int]
    ) -> Iterator[tuple[int, Any]]:
        """Decode packets, and give each frame with the time of the first."""
        codec, first = self._stream.codec_context, None
        for number, packet in packets:
            skips = self._skips and first is not None and number not in wanted
            codec.skip_frame = 'NONREF' if skips else 'DEFAULT'
            first = packet.pts if first is None else first
            for frame in codec.decode(packet):
                yield first, frame
        for frame in codec.decode(None):
            yield first, frame

    def _replay(self) -> Iterator[Any]:
        """Get all packets from memory, or from the file once more."""
        if self._packets is not None:
            yield from self._packets
            return
        container, stream = open_video(self.path, self.probe_decoder)
        with container:
            yield from (p for p in container.demux(stream) if p.size)


def _why_not_selective(container: str, codec: str, extradata: bytes) -> str:
    """Decide without a look at packets; empty if they must be looked at."""
    if container not in CONTAINERS:
        return f'container {container}'
    if codec not in CODECS:
        return f'codec {codec}'
    if codec in ('h264', 'hevc') and (
        len(extradata) < MIN_EXTRADATA[codec] or extradata[0] != 1
    ):
        return 'units without lengths'
    if codec == 'h264' and not has_only_frames(extradata):
        return 'fields of frames'
    return ''


def has_only_frames(extradata: bytes) -> bool:
    """Whether no frame of H.264 is coded as two fields.

    Fields may have a packet each, so that packets are no frames. PyAV does not
    expose this flag of the sequence parameter sets, the only thing in them
    that matters here (Rec. ITU-T H.264, 7.3.2.1.1).

    Args:
        extradata: From an MP4 or Matroska file (ISO/IEC 14496-15, 5.3.3.1).
    """
    place, count = 6, extradata[5] & 31
    try:
        for _ in range(count):
            size = int.from_bytes(extradata[place : place + 2], 'big')
            place += 2 + size
            if not _read_frames_only_flag(extradata[place - size : place]):
                return False
    except ValueError:
        return False
    return count > 0


def _read_frames_only_flag(settings: bytes) -> bool:
    # A 3 behind two zeros only keeps the zeros from being a start code.
    payload = settings[1:].replace(b'\0\0\3', b'\0\0')
    bits, place = ''.join(f'{byte:08b}' for byte in payload), 0

    def read(count: int) -> int:
        nonlocal place
        place += count
        return int(bits[place - count : place], 2)

    def read_golomb() -> int:
        zeros = bits.index('1', place) - place
        return read(2 * zeros + 1) - 1

    profile = read(8)
    read(16)
    read_golomb()
    if profile in HIGH_PROFILES:
        chroma = read_golomb()
        if chroma == 3:
            read(1)
        read_golomb(), read_golomb(), read(1)
        if read(1):
            _skip_scaling_lists(12 if chroma == 3 else 8, read, read_golomb)
    read_golomb()
    order = read_golomb()
    if order == 0:
        read_golomb()
    elif order == 1:
        read(1), read_golomb(), read_golomb()
        for _ in range(read_golomb()):
            read_golomb()
    read_golomb(), read(1), read_golomb(), read_golomb()
    return bool(read(1))


def _skip_scaling_lists(
    count: int, read: Callable[[int], int], read_golomb: Callable[[], int]
) -> None:
    for number in range(count):
        if not read(1):
            continue
        last = scale = 8
        for _ in range(16 if number < 6 else 64):
            if scale:
                code = read_golomb()
                delta = (code + 1) // 2 if code % 2 else -code // 2
                scale = (last + delta) % 256
            last = scale or last


def _get_frame_check(stream: Any) -> Callable[[Any], bool]:
    """Get what says whether a packet shows exactly one frame."""
    if stream.codec_context.name == 'vp8':
        # RFC 6386, section 9.1.
        return lambda packet: bool(memoryview(packet)[0] >> 4 & 1)
    if stream.codec_context.name != 'vp9':
        return lambda packet: True
    import av
    from av.bitstream import BitStreamFilterContext

    # Hidden frames are held back until the next one that is shown.
    merge = BitStreamFilterContext(
        'vp9_superframe_split,vp9_superframe', stream
    )
    # The filter empties what it gets.
    return lambda packet: len(merge.filter(av.Packet(bytes(packet)))) == 1


def _is_odd(packet: Any) -> bool:
    return (
        packet.is_discard
        or packet.is_corrupt
        or packet.has_sidedata('new_extradata')
        or packet.has_sidedata('param_change')
    )


def _check_order(
    pts: Sequence[int | None],
    dts: Sequence[int | None],
    is_key: Sequence[bool],
) -> None:
    if not pts:
        raise MustReadInOrderError('no packet')
    if None in pts:
        raise MustReadInOrderError('frames without a time', True)
    if len(set(pts)) < len(pts):
        raise MustReadInOrderError('two frames at one time', True)
    known = [time for time in dts if time is not None]
    if any(after < before for before, after in pairwise(known)):
        raise MustReadInOrderError('packets out of order', True)
    if not is_key[0] or min(pts) < pts[0]:
        # Frames before the first keyframe refer to what is not there.
        raise MustReadInOrderError('no keyframe at the beginning')


def find_starts(pts: np.ndarray, is_key: np.ndarray) -> np.ndarray:
    """Find the keyframes at which decoding can begin, and end.

    Args:
        pts: Shape (N,), int64, when each packet is shown, in decoding order.
        is_key: Shape (N,), bool.

    Returns:
        Shape (number of starts,), int64, ascending: every keyframe that
        divides the packets in decoding order as it does in time.
    """
    before = np.maximum.accumulate(pts)
    behind = np.minimum.accumulate(pts[::-1])[::-1]
    clean = is_key & (behind == pts)
    clean[1:] &= before[:-1] < pts[1:]
    return np.flatnonzero(clean)


class AutoReader(VideoReader):
    """A video file of which single frames are decoded where that is exact.

    If a decoder does not give what the packets promised, the file is opened
    again and its first frames are decoded to learn more; if that does not
    help, it is read in order from then on. The decision is remembered as long
    as the file stays as it is. Animated GIF and WebP are read by
    :class:`AnimationReader`.

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
        self._record = recall(self.path)
        self._reader = self._choose()

    @property
    def in_order(self) -> str:
        """Why the file is read in order; empty if it is not."""
        return self._record.in_order or ''

    def __len__(self) -> int:
        """Number of frames, at least one."""
        return len(self._reader)

    @property
    def original_shape(self) -> tuple[int, int]:
        """Height and width of the first frame, as it is displayed."""
        self._see_first()
        return self._reader.original_shape

    @property
    def fps(self) -> float:
        """Frames per second, on average; 0 where the file does not say."""
        return self._reader.fps

    @property
    def codec(self) -> str:
        """FFmpeg's name of the format, as ``'h264'``."""
        return self._reader.codec

    @property
    def rotation(self) -> int:
        """Degrees, anticlockwise, by which stored frames were turned."""
        self._see_first()
        return self._reader.rotation

    def get_frames(self, indices: Sequence[int]) -> np.ndarray:
        """Decode frames, see :class:`VideoReader`."""
        if isinstance(self._reader, PyAVReader | AnimationReader):
            return self._reader.get_frames(indices)
        while isinstance(self._reader, SelectiveReader):
            try:
                return self._reader.get_frames(indices)
            except (MustReadInOrderError, UnreadableVideoError) as error:
                before = self._reader
                self._note(error, before.probe_decoder)
                # A closed one must not stay if this fails.
                self._reader = self._choose()
                before.close()
        try:
            return self._reader.get_frames(indices)
        except IndexError as error:
            # They were asked for before the count was certain.
            raise UnreadableVideoError(
                f'{self.path}: it promised more than the {len(self)} frames '
                'that its decoder gives'
            ) from error

    def get_times(self) -> np.ndarray:
        """Return when each frame is shown, see :class:`VideoReader`."""
        return self._reader.get_times()

    def close(self) -> None:
        """Close the file."""
        self._reader.close()

    def _choose(self) -> StreamReader | AnimationReader:
        if find_kind(self.path):
            return AnimationReader(self.path, self.short_side)
        while not self._record.in_order:
            probes = self._record.needs_probing
            try:
                reader = SelectiveReader(self.path, self.short_side, probes)
            except MustReadInOrderError as error:
                self._note(error, probes)
            else:
                self._record.in_order = ''
                return reader
        return PyAVReader(self.path, self.short_side)

    def _note(self, error: Exception, has_probed: bool) -> None:
        if has_probed or not getattr(error, 'may_change', True):
            self._record.in_order = str(error)
        self._record.needs_probing = True

    def _see_first(self) -> None:
        """Have a frame decoded if none was, in whatever way is right."""
        if not self._reader.has_frames:
            self.get_frames([0])
