"""What the packets of VP9 say of themselves.

Read without decoding: the head of a frame, and the index behind several
frames in one packet (VP9 Bitstream Specification 0.6, sections 7.2 and B).
"""

from collections.abc import Iterator
from typing import Any

from mmtvr.video.packet_facts import PacketFacts


def inspect_vp9(packet: Any) -> PacketFacts:
    """Look into a packet.

    Args:
        packet: As a buffer.

    Returns:
        Whether it begins with a keyframe and shows exactly one picture.
    """
    heads = [_read_head(frame) for frame in _split(memoryview(packet))]
    shown = sum(shows for shows, _ in heads)
    return PacketFacts(closed=bool(heads) and heads[0][1], shown=shown == 1)


def _split(data: memoryview) -> Iterator[memoryview]:
    """Split a packet into frames by the index at its end."""
    last = data[-1]
    count, width = (last & 7) + 1, (last >> 3 & 3) + 1
    index = data[-2 - count * width :]
    if last >> 5 != 6 or index[0] != last or len(index) != 2 + count * width:
        yield data
        return
    place = 0
    for number in range(count):
        begin = 1 + number * width
        size = int.from_bytes(index[begin : begin + width], 'little')
        frame = data[place : place + size]
        if len(frame):
            yield frame
        place += size


def _read_head(frame: memoryview) -> tuple[bool, bool]:
    """Tell whether a frame is shown, and whether it is a keyframe."""
    bits = f'{frame[0]:08b}' + (
        f'{frame[1]:08b}' if len(frame) > 1 else '0' * 8
    )
    # A marker of two bits and the profile, whose fourth has a bit more.
    place = 5 if bits[2:4] == '11' else 4
    if bits[place] == '1':
        return True, False
    return bits[place + 2] == '1', bits[place + 1] == '0'
