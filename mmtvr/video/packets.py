"""The packets of a video stream, read without decoding them."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from mmtvr.video.bitstream import PacketFacts, get_inspector

UNKNOWN_TIME = np.iinfo(np.int64).min
CHANGES = ('new_extradata', 'param_change')


class PacketTable(NamedTuple):
    """A row for each packet of the best video stream, in decoding order.

    Attributes:
        container: FFmpeg's name, as ``'mov,mp4,m4a,3gp,3g2,mj2'``.
        codec: FFmpeg's name, as ``'h264'``.
        pts: Shape (N,), int64, when a picture is shown, in the stream's unit;
            ``UNKNOWN_TIME`` where the file does not tell.
        dts: Shape (N,), int64, when it is decoded.
        key: Shape (N,), bool, marked as a keyframe by the container.
        closed: Shape (N,), bool, decoding can begin here.
        droppable: Shape (N,), bool, no other picture refers to this one.
        parameters: Shape (N,), bool, carries settings of the decoder.
        shown: Shape (N,), bool, holds exactly one picture to show.
        odd: Shape (N,), bool, to be discarded, corrupt, or with new settings
            beside it.
        inspected: Whether ``closed`` and ``droppable`` come from the packets.
    """

    container: str
    codec: str
    pts: np.ndarray
    dts: np.ndarray
    key: np.ndarray
    closed: np.ndarray
    droppable: np.ndarray
    parameters: np.ndarray
    shown: np.ndarray
    odd: np.ndarray
    inspected: bool


def make_table(
    container: Any, stream: Any, packets: Iterable[Any]
) -> PacketTable:
    """Look into packets.

    Args:
        container: PyAV's container.
        stream: Its video stream.
        packets: Packets of the stream that are not empty.

    Returns:
        One row for each.
    """
    codec = stream.codec_context.codec.canonical_name
    inspect = get_inspector(codec, stream.codec_context.extradata)
    rows = []
    for packet in packets:
        facts = PacketFacts() if inspect is None else inspect(packet)
        pts, dts = packet.pts, packet.dts
        rows.append(
            (
                UNKNOWN_TIME if pts is None else pts,
                UNKNOWN_TIME if dts is None else dts,
                packet.is_keyframe,
                *facts,
                _is_odd(packet),
            )
        )
    columns = np.array(rows, np.int64).reshape(-1, 8).T
    pts, dts = columns[:2]
    key, closed, droppable, parameters, shown, odd = columns[2:].astype(bool)
    return PacketTable(
        container=container.format.name,
        codec=codec,
        pts=pts,
        dts=dts,
        key=key,
        closed=closed if inspect is not None else key,
        droppable=droppable,
        parameters=parameters,
        shown=shown,
        odd=odd,
        inspected=inspect is not None,
    )


def _is_odd(packet: Any) -> bool:
    return (
        packet.is_discard
        or packet.is_corrupt
        or any(side.data_type in CHANGES for side in packet.iter_sidedata())
    )
