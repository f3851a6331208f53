"""Frames of a video file, decoding only what they need."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from typing import Any

import numpy as np

from mmtvr.video.completeness import check_end
from mmtvr.video.opening import name_failures, open_video
from mmtvr.video.packets import UNKNOWN_TIME, PacketTable, make_table
from mmtvr.video.picture_stack import PictureStack
from mmtvr.video.stream_reader import StreamReader
from mmtvr.video.trust import find_beginnings, why_in_order, why_not_known

#: Packets up to so many bytes stay in memory from the first look on.
KEPT_BYTES = 64 * 2**20


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
            if size > KEPT_BYTES:
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
