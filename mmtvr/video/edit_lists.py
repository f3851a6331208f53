"""What the edit list of an MP4 file asks for that FFmpeg does not do.

FFmpeg follows edits that show parts of a track at their own speed, in any
order, and a pause before them. In a pause between parts it shows other
pictures, and it takes a picture that is held, or another speed, for a part as
long as the edit (``mov_fix_index`` in libavformat/mov.c of FFmpeg 8.0).
"""

import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

PAUSE = -1
USUAL_SPEED = 1 << 16
CONTAINERS = (b'moov', b'trak', b'edts')


class Edit(NamedTuple):
    """One entry of an edit list (ISO/IEC 14496-12, 8.6.6).

    Attributes:
        duration: How long it is shown, in the unit of the file.
        begin: From where in the track on, in the unit of the track;
            ``PAUSE`` for nothing.
        speed: In units of 1/65,536; 0 holds the first picture.
    """

    duration: int
    begin: int
    speed: int


def why_not_followed(path: str, track: int) -> str | None:
    """Look for edits that FFmpeg does not follow.

    Args:
        path: A file of the MP4 family.
        track: Its number in the file.

    Returns:
        What there is; None if there is nothing.
    """
    edits = read_edits(path, track)
    while edits and edits[0].begin == PAUSE:
        edits = edits[1:]
    if any(edit.begin == PAUSE for edit in edits):
        return 'its edit list pauses behind pictures'
    if any(edit.speed == 0 for edit in edits):
        return 'its edit list holds a picture'
    if any(edit.speed != USUAL_SPEED for edit in edits):
        return 'its edit list changes the speed'
    return None


def read_edits(path: str, track: int) -> list[Edit]:
    """Read the edit list of a track.

    Args:
        path: A file of the MP4 family.
        track: Its number in the file.

    Returns:
        The entries; none if there is no list, or if it cannot be read.
    """
    current = None
    with open(path, 'rb') as file:
        try:
            for kind, content in _walk(file, 0, file.seek(0, 2)):
                if kind == b'tkhd':
                    place = 20 if content[0] == 1 else 12
                    current = int.from_bytes(content[place : place + 4], 'big')
                elif kind == b'elst' and current == track:
                    return _parse(content)
        except (struct.error, IndexError):
            pass
    return []


def _walk(
    file: BinaryIO, begin: int, end: int
) -> Iterator[tuple[bytes, bytes]]:
    """Give what is in the heads of tracks and in their edit lists."""
    while begin + 8 <= end:
        file.seek(begin)
        size, kind = struct.unpack('>I4s', file.read(8))
        head = 8
        if size == 1:
            size, head = struct.unpack('>Q', file.read(8))[0], 16
        stop = begin + size if size else end
        if kind in CONTAINERS:
            yield from _walk(file, begin + head, min(stop, end))
        elif kind in (b'tkhd', b'elst'):
            yield kind, file.read(min(stop, end) - begin - head)
        if kind == b'moov' or stop <= begin:
            return
        begin = stop


def _parse(content: bytes) -> list[Edit]:
    layout = '>Qqi' if content[0] == 1 else '>Iii'
    size = struct.calcsize(layout)
    count = min(
        int.from_bytes(content[4:8], 'big'), (len(content) - 8) // size
    )
    return [
        Edit(*struct.unpack_from(layout, content, 8 + number * size))
        for number in range(count)
    ]
