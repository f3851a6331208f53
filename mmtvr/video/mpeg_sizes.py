"""Where MPEG-1 and MPEG-2 change the size of their pictures."""

from typing import Any

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
