"""The boxes of which a file of the MP4 family consists."""

import os
import struct
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple


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


FRAGMENT, PARTS, REFERENCES = b'moof', (b'moof', b'mdat'), b'sidx'
MOST_REFERENCES = 2**20


def check_end(
    container: Any, stream: Any, packets: int, pts: Sequence[int]
) -> None:
    """Make sure that nothing is missing at the end of a file, or too much.

    Args:
        container: PyAV's container, read to its end.
        stream: Its video stream.
        packets: How many were in it.
        pts: When those pictures are shown whose packets are not to be
            discarded.

    Raises:
        ValueError: If the index of an MP4 file promises more, if its last
            fragment is cut off, or if an edit leaves some of its pictures
            out that FFmpeg shows.
    """
    if not container.format.name.startswith('mov,'):
        return
    promised = len(stream.index_entries)
    if packets < promised:
        # Some writers note a picture that they dropped as an empty one.
        promised = sum(entry.size > 0 for entry in stream.index_entries)
    if packets < promised:
        raise ValueError(
            f'it is cut off: its index promises {promised} pictures, '
            f'{packets} are there'
        )
    if stream.frames < packets and is_fragment_missing(container.name):
        raise ValueError('it is cut off: a fragment is not whole')
    if stream.index or not stream.frames:
        # FFmpeg may have stopped to follow edits.
        reason = why_too_many(container.name, stream.id, pts)
        if reason is not None:
            raise ValueError(reason)


def is_fragment_missing(path: str) -> bool:
    """Tell whether a file in fragments ends before the last of them does.

    Args:
        path: A file of the MP4 family.

    Returns:
        Whether its last box, or what its segment index refers to, ends
        behind it. False for a file that is not fragmented.
    """
    size, end, is_fragmented = os.path.getsize(path), 0, False
    with open(path, 'rb') as file:
        for box in find_boxes(file, 0, size):
            is_fragmented |= box.kind == FRAGMENT
            if box.kind in PARTS:
                end = max(end, box.end)
            elif box.kind == REFERENCES:
                content = read_content(file, box, MOST_REFERENCES)
                end = max(end, box.end + _referred(content))
    return is_fragmented and end > size


def _referred(content: bytes) -> int:
    """Count the bytes of which a segment index tells (8.16.3)."""
    if content[:1] == b'\1':
        offset, place = read_number(content, '>Q', 20), 32
    else:
        offset, place = read_number(content, '>I', 16), 24
    count = min(
        read_number(content, '>H', place - 2), (len(content) - place) // 12
    )
    # The highest bit tells what is there.
    return offset + sum(
        read_number(content, '>I', place + 12 * number) & 2**31 - 1
        for number in range(count)
    )
