"""What the packets of H.264, HEVC and VP8 say of themselves.

Read without decoding: the kinds of the units inside a packet (Rec. ITU-T
H.264, table 7-1; H.265, table 7-1), and the first byte of a VP8 frame (RFC
6386, section 9.1). Of VP9 see :mod:`mmtvr.video.vp9`.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from mmtvr.video.h264_fields import (
    Sequence,
    is_field,
    read_sequence,
    units_of_head,
)
from mmtvr.video.packet_facts import PacketFacts
from mmtvr.video.vp9 import inspect_vp9

H264_SLICES, H264_IDR, H264_PARAMETERS = range(1, 6), 5, (7, 8, 13, 15)
H264_HEADS, H264_SEQUENCE = (1, 2, 5), 7
# Longer than any of which all is used.
SEQUENCE_BYTES = 4096
HEVC_SLICES, HEVC_PARAMETERS = range(32), (32, 33, 34)
HEVC_IDR = (19, 20)
HEVC_DROPPABLE = (0, 6, 8)  # TRAIL_N, RADL_N, RASL_N


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
        sequences = _read_sequences(units_of_head(extradata))
        return lambda packet: _inspect_h264(packet, length, sequences)
    if codec == 'hevc' and packed:
        length = (extradata[21] & 3) + 1
        # A picture of a higher temporal layer may refer to any of a lower.
        one_layer = extradata[21] >> 3 & 7 == 1
        return lambda packet: _inspect_hevc(packet, length, one_layer)
    return {'vp8': _inspect_vp8, 'vp9': inspect_vp9}.get(codec)


def _units(data: memoryview, length: int) -> Iterator[tuple[int, int]]:
    """Find the units of a packet by the lengths that stand before them.

    Args:
        data: The packet.
        length: Bytes of each length.

    Yields:
        Where a unit begins, and how many bytes of it are there.
    """
    place, end = 0, len(data)
    while place + length < end:
        size = int.from_bytes(data[place : place + length], 'big')
        place += length
        yield place, min(size, end - place)
        place += size


def _read_sequences(units: Iterable[Any]) -> set[Sequence | None]:
    """Read settings; None stands for what cannot be read."""
    found: set[Sequence | None] = set()
    for unit in units:
        try:
            found.add(read_sequence(unit[:SEQUENCE_BYTES]))
        except ValueError:
            found.add(None)
    return found


def _inspect_h264(
    packet: Any, length: int, sequences: set[Sequence | None]
) -> PacketFacts:
    closed = referred = parameters = False
    slices, fields = 0, 0
    data = memoryview(packet)
    for place, size in _units(data, length):
        if size < 2:
            continue
        head = data[place]
        kind = head & 31
        if kind in H264_SLICES:
            slices += 1
            closed |= kind == H264_IDR
            referred |= bool(head >> 5 & 3)
        if kind in H264_HEADS and data[place + 1] & 128:
            # The first of its picture.
            fields += _count_fields(data[place : place + size], sequences)
        if kind == H264_SEQUENCE:
            sequences |= _read_sequences([data[place : place + size]])
        parameters |= kind in H264_PARAMETERS
    droppable = bool(slices) and not referred and not parameters
    return PacketFacts(closed, droppable, parameters, shown=fields == 2)


def _count_fields(unit: Any, sequences: set[Sequence | None]) -> int:
    """Count the fields of a picture: 1 or 2, 0 if that is unknown."""
    if None not in sequences and all(s.only_frames for s in sequences):
        return 2
    if None in sequences or len(sequences) > 1:
        return 0
    try:
        return 1 if is_field(unit, *sequences) else 2
    except ValueError:
        return 0


def _inspect_hevc(packet: Any, length: int, one_layer: bool) -> PacketFacts:
    closed = parameters = False
    droppable, pictures = one_layer, 0
    data = memoryview(packet)
    for place, size in _units(data, length):
        # Other views and transparency are in layers of their own.
        if size < 3 or data[place] & 1 or data[place + 1] >> 3:
            continue
        kind, layer = data[place] >> 1 & 63, data[place + 1] & 7
        if kind in HEVC_SLICES:
            pictures += data[place + 2] >> 7
            closed |= kind in HEVC_IDR
            droppable &= kind in HEVC_DROPPABLE and layer == 1
        parameters |= kind in HEVC_PARAMETERS
    droppable &= bool(pictures) and not parameters
    return PacketFacts(closed, droppable, parameters, shown=pictures == 1)


def _inspect_vp8(packet: Any) -> PacketFacts:
    first = memoryview(packet)[0]
    return PacketFacts(closed=not first & 1, shown=bool(first >> 4 & 1))
