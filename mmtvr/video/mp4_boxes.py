"""The boxes of which a file of the MP4 family consists."""

import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple


class Box(NamedTuple):
    """One box (ISO/IEC 14496-12, 4.2).

    Attributes:
        kind: Its four letters.
        begin: Where its content begins in the file.
        end: Behind its last byte, as it says itself.
    """

    kind: bytes
    begin: int
    end: int


def find_boxes(file: BinaryIO, begin: int, end: int) -> Iterator[Box]:
    """Find boxes that follow each other.

    Args:
        file: A file of the MP4 family.
        begin: Where the first begins.
        end: Where what holds them ends, or the file.

    Yields:
        Boxes, up to what cannot be one.
    """
    while begin + 8 <= end:
        file.seek(begin)
        head = file.read(16)
        size, length = int.from_bytes(head[:4], 'big'), 8
        if size == 1:
            size, length = int.from_bytes(head[8:], 'big'), 16
        if size and size < length:
            return
        stop = begin + size if size else end
        yield Box(head[4:8], begin + length, stop)
        begin = stop


def read_content(file: BinaryIO, box: Box, most: int) -> bytes:
    """Read what is in a box.

    Args:
        file: The file.
        box: One of it.
        most: Bytes that are enough.

    Returns:
        Less than both if the file ends before.
    """
    file.seek(box.begin)
    return file.read(min(box.end - box.begin, most))


def read_number(content: bytes, layout: str, place: int) -> int:
    """Take a number out of a box.

    Args:
        content: What is in it.
        layout: As :mod:`struct` has it.
        place: Byte where it begins.

    Returns:
        The number; 0 if the box is shorter.
    """
    if len(content) < place + struct.calcsize(layout):
        return 0
    return struct.unpack_from(layout, content, place)[0]
