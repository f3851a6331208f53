"""What the edit list of an MP4 file asks for that FFmpeg does not do.

FFmpeg follows edits that show parts of a track at their own speed, in any
order, and a pause before them. In a pause between parts it shows other
pictures, and it takes a picture that is held, or another speed, for a part as
long as the edit (``mov_fix_index`` in libavformat/mov.c of FFmpeg 8.0). From
the first track on whose pictures are not in the index of the file, as in a
fragmented one, it only moves the times, by the first edit (``mov_read_trak``
and ``mov_build_index``).
"""

import struct
from collections.abc import Iterator, Sequence
from typing import BinaryIO, NamedTuple

from mmtvr.video.mp4_boxes import find_boxes, read_content, read_number

PAUSE = -1
USUAL_SPEED = 1 << 16
CONTAINERS = (b'edts', b'mdia', b'minf', b'stbl')
# Of containers in each other.
DEPTH = 3
# As many bytes of each as matter.
LEAVES = {b'mvhd': 24, b'tkhd': 24, b'elst': 2**20, b'mdhd': 24, b'stts': 8}


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


class EditList(NamedTuple):
    """The edits of a track, without pauses that last no time.

    Attributes:
        edits: In their order; none if there is no list.
        are_followed: Whether FFmpeg does more than to move the times.
        file_rate: Units of the file in a second.
        track_rate: Units of the track in a second.
    """

    edits: list[Edit] = []
    are_followed: bool = True
    file_rate: int = 0
    track_rate: int = 0


def why_not_followed(path: str, track: int) -> str | None:
    """Look for edits that FFmpeg does not follow.

    Args:
        path: A file of the MP4 family.
        track: Its number in the file.

    Returns:
        What there is; None if there is nothing.
    """
    edits, are_followed, *_ = read_edits(path, track)
    if not are_followed and len(edits[_first(edits) :]) > 1:
        return 'its edit list has parts, which its pictures do not follow'
    while edits and edits[0].begin == PAUSE:
        edits = edits[1:]
    if any(edit.begin == PAUSE for edit in edits):
        return 'its edit list pauses behind pictures'
    if any(edit.speed == 0 for edit in edits):
        return 'its edit list holds a picture'
    if any(edit.speed != USUAL_SPEED for edit in edits):
        return 'its edit list changes the speed'
    return None


def why_too_many(path: str, track: int, pts: Sequence[int]) -> str | None:
    """Look for pictures that an edit cuts off, and FFmpeg does not.

    Args:
        path: A file of the MP4 family.
        track: Its number in the file.
        pts: When FFmpeg shows its pictures, in the unit of the track.

    Returns:
        What there is; None if there is nothing.
    """
    edits, are_followed, file_rate, track_rate = read_edits(path, track)
    if are_followed or not edits or not pts or not file_rate:
        return None
    first = _first(edits)
    pause = edits[0].duration if first else 0
    # A duration of 0 is that of all fragments, see 8.6.6.1.
    duration = edits[-1].duration
    begin, end = min(pts), max(pts)
    if begin < round(pause * track_rate / file_rate) or (
        duration and end - begin >= round(duration * track_rate / file_rate)
    ):
        return 'its edit list cuts off pictures of fragments'
    return None


def read_edits(path: str, track: int) -> EditList:
    """Read the edit list of a track.

    Args:
        path: A file of the MP4 family.
        track: Its number in the file.

    Returns:
        The list; an empty one if there is none, or if it cannot be read.
    """
    are_followed, file_rate = True, 0
    with open(path, 'rb') as file:
        for kind, boxes in _read_index(file):
            if kind == b'mvhd':
                file_rate = _behind_dates(boxes[kind])
                continue
            are_followed &= read_number(boxes[b'stts'], '>I', 4) > 0
            head = boxes[b'tkhd']
            if _behind_dates(head) == track:
                edits = _parse(boxes[b'elst'])
                rate = _behind_dates(boxes[b'mdhd'])
                return EditList(edits, are_followed, file_rate, rate)
    return EditList()


def _first(edits: Sequence[Edit]) -> int:
    """Find the edit that moves the times."""
    return int(bool(edits) and edits[0].begin == PAUSE)


def _read_index(
    file: BinaryIO,
) -> Iterator[tuple[bytes, dict[bytes, bytes]]]:
    """Give the head of the first index, and what matters of each track."""
    size = file.seek(0, 2)
    index = next(
        (b for b in find_boxes(file, 0, size) if b.kind == b'moov'), None
    )
    if index is None:
        return
    end = min(index.end, size)
    for box in find_boxes(file, index.begin, end):
        found = dict.fromkeys(LEAVES, b'')
        if box.kind == b'trak':
            _collect(file, box.begin, min(box.end, end), found)
            yield box.kind, found
        elif box.kind == b'mvhd':
            found[box.kind] = read_content(file, box, LEAVES[box.kind])
            yield box.kind, found


def _collect(
    file: BinaryIO,
    begin: int,
    end: int,
    found: dict[bytes, bytes],
    depth: int = DEPTH,
) -> None:
    """Read those boxes of a track that matter."""
    for box in find_boxes(file, begin, end):
        if box.kind in CONTAINERS and depth:
            _collect(file, box.begin, min(box.end, end), found, depth - 1)
        elif box.kind in LEAVES:
            found[box.kind] = read_content(file, box, LEAVES[box.kind])


def _behind_dates(head: bytes) -> int:
    """The number of a track in its head, the rate in the other heads."""
    return read_number(head, '>I', 20 if head[:1] == b'\1' else 12)


def _parse(content: bytes) -> list[Edit]:
    layout = '>Qqi' if content[:1] == b'\1' else '>Iii'
    size = struct.calcsize(layout)
    count = min(
        read_number(content, '>I', 4), max(len(content) - 8, 0) // size
    )
    edits = [
        Edit(*struct.unpack_from(layout, content, 8 + number * size))
        for number in range(count)
    ]
    return [e for e in edits if e.begin != PAUSE or e.duration]
