"""Whether the pictures of H.264 are frames, or single fields of frames.

FFmpeg's name for a stream of single fields is PAFF. The settings of the
sequence (Rec. ITU-T H.264, 7.3.2.1.1) say whether there may be fields, and
the head of each slice (7.3.3) whether it is one.
"""

from collections.abc import Iterator
from typing import NamedTuple

HIGH_PROFILES = (44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244)
MOST_NUMBER_BITS = 16
# A slice tells whether it is a field in its first 12 bytes.
HEAD_BYTES = 24


class Sequence(NamedTuple):
    """Settings of a sequence, as far as they matter for fields.

    Attributes:
        only_frames: There is no field in it.
        planes: The planes of a picture are coded apart.
        number_bits: Length of the number of a frame.
    """

    only_frames: bool
    planes: bool
    number_bits: int


def read_sequence(unit: bytes | memoryview) -> Sequence:
    """Read the settings of a sequence.

    Args:
        unit: One of type 7, from its first byte.

    Returns:
        What matters.

    Raises:
        ValueError: If it ends too early, or if it is not valid.
    """
    bits = _Bits(unit)
    profile, planes = bits.u(8), False
    bits.u(16)
    bits.ue()
    if profile in HIGH_PROFILES:
        chroma = bits.ue()
        planes = chroma == 3 and bool(bits.u(1))
        bits.ue()
        bits.ue()
        bits.u(1)
        if bits.u(1):
            _skip_scaling(bits, 12 if chroma == 3 else 8)
    number_bits = bits.ue() + 4
    if number_bits > MOST_NUMBER_BITS:
        raise ValueError('the number of a frame is too long')
    _skip_order(bits)
    bits.ue()
    bits.u(1)
    bits.ue()
    bits.ue()
    return Sequence(bool(bits.u(1)), planes, number_bits)


def is_field(unit: bytes | memoryview, sequence: Sequence) -> bool:
    """Tell whether a slice belongs to a single field.

    Args:
        unit: One of type 1, 2 or 5, from its first byte.
        sequence: Settings of its sequence.

    Returns:
        Whether it does.

    Raises:
        ValueError: If it ends too early.
    """
    if sequence.only_frames:
        return False
    bits = _Bits(unit[:HEAD_BYTES])
    for _ in range(3):
        bits.ue()
    bits.u(2 * sequence.planes + sequence.number_bits)
    return bool(bits.u(1))


def units_of_head(extradata: bytes) -> Iterator[bytes]:
    """Get the settings of sequences from the head of a file.

    Args:
        extradata: As ISO/IEC 14496-15, 5.3.3.1 has it.

    Yields:
        Units of type 7.
    """
    place = 6
    for _ in range(extradata[5] & 31):
        size = int.from_bytes(extradata[place : place + 2], 'big')
        yield extradata[place + 2 : place + 2 + size]
        place += 2 + size


def _skip_scaling(bits: '_Bits', lists: int) -> None:
    for number in range(lists):
        if not bits.u(1):
            continue
        last = following = 8
        for _ in range(16 if number < 6 else 64):
            if following:
                following = (last + bits.se()) % 256
            last = following or last


def _skip_order(bits: '_Bits') -> None:
    kind = bits.ue()
    if kind == 0:
        bits.ue()
    elif kind == 1:
        bits.u(1)
        bits.ue()
        bits.ue()
        for _ in range(bits.ue()):
            bits.ue()


class _Bits:
    """The bits of a unit without its first byte, see 7.2 and 9.1."""

    def __init__(self, unit: bytes | memoryview) -> None:
        # A 3 behind two zeros only keeps the zeros from being a start code.
        payload = bytes(unit[1:]).replace(b'\0\0\3', b'\0\0')
        self._text = ''.join(f'{byte:08b}' for byte in payload)
        self._place = 0

    def u(self, count: int) -> int:
        end = self._place + count
        if end > len(self._text):
            raise ValueError('a unit ends too early')
        begin, self._place = self._place, end
        return int(self._text[begin:end] or '0', 2)

    def ue(self) -> int:
        zeros = self._text.find('1', self._place) - self._place
        if zeros < 0:
            raise ValueError('a unit ends too early')
        self._place += zeros
        return self.u(zeros + 1) - 1

    def se(self) -> int:
        value = self.ue()
        return (value + 1) // 2 if value % 2 else -value // 2
