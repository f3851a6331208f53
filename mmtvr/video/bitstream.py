"""What the packets of H.264, HEVC and VP8 say of themselves.

Read without decoding: the kinds of the units inside a packet (Rec. ITU-T
H.264, table 7-1; H.265, table 7-1), and the first byte of a VP8 frame (RFC
6386, section 9.1).
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

H264_SLICES, H264_IDR, H264_PARAMETERS = range(1, 6), 5, (7, 8, 13, 15)
HEVC_SLICES, HEVC_PARAMETERS = range(32), (32, 33, 34)
HEVC_IDR = (19, 20)
HEVC_DROPPABLE = (0, 6, 8)  # TRAIL_N, RADL_N, RASL_N


class PacketFacts(NamedTuple):
    """What decides whether a packet can be left out, or begun with.

    Attributes:
        closed: No picture behind it refers to one before it.
        droppable: No other picture refers to it.
        parameters: It carries settings that later packets may need.
        shown: It holds exactly one picture to show.
    """

    closed: bool = False
    droppable: bool = False
    parameters: bool = False
    shown: bool = True


Inspector = Callable[[Any], PacketFacts]


def get_inspector(codec: str, extradata: bytes | None) -> Inspector | None:
    """Find the function that looks into the packets of a stream.

    Args:
        codec: FFmpeg's name of the format.
        extradata: Settings of the decoder from the head of the file.

    Returns:
        What takes a packet as a buffer; None for formats of which nothing is
        known, and for units that are separated by start codes.
    """
    extradata = extradata or b''
    packed = len(extradata) > 22 and extradata[0] == 1
    if codec == 'h264' and len(extradata) > 6 and extradata[0] == 1:
        length = (extradata[4] & 3) + 1
        return lambda packet: _inspect_h264(packet, length)
    if codec == 'hevc' and packed:
        length = (extradata[21] & 3) + 1
        return lambda packet: _inspect_hevc(packet, length)
    return _inspect_vp8 if codec == 'vp8' else None


def _units(packet: Any, length: int) -> Iterator[memoryview]:
    """Split a packet at the lengths that stand before its units."""
    data = memoryview(packet)
    place, end = 0, len(data)
    while place + length < end:
        size = int.from_bytes(data[place : place + length], 'big')
        place += length
        yield data[place : place + size]
        place += size


def _inspect_h264(packet: Any, length: int) -> PacketFacts:
    closed = referred = parameters = False
    slices = 0
    for unit in _units(packet, length):
        if not len(unit):
            continue
        kind = unit[0] & 31
        if kind in H264_SLICES:
            slices += 1
            closed |= kind == H264_IDR
            referred |= bool(unit[0] >> 5 & 3)
        parameters |= kind in H264_PARAMETERS
    droppable = bool(slices) and not referred and not parameters
    return PacketFacts(closed, droppable, parameters, shown=bool(slices))


def _inspect_hevc(packet: Any, length: int) -> PacketFacts:
    closed = parameters = False
    droppable, slices = True, 0
    for unit in _units(packet, length):
        if len(unit) < 2:
            continue
        kind, layer = unit[0] >> 1 & 63, unit[1] & 7
        if kind in HEVC_SLICES:
            slices += 1
            closed |= kind in HEVC_IDR
            # A picture of a higher temporal layer may refer to it.
            droppable &= kind in HEVC_DROPPABLE and layer == 1
        parameters |= kind in HEVC_PARAMETERS
    droppable &= bool(slices) and not parameters
    return PacketFacts(closed, droppable, parameters, shown=bool(slices))


def _inspect_vp8(packet: Any) -> PacketFacts:
    first = memoryview(packet)[0]
    return PacketFacts(closed=not first & 1, shown=bool(first >> 4 & 1))
