"""Edit lists and cut-off ends of MP4 files that FFmpeg does not report.

FFmpeg follows edits that show parts of a track at their own speed, in any
order, and an empty edit before them. During an empty edit between parts it
shows other frames, and it takes a frame that is held, or another rate, for a
part as long as the edit (``mov_fix_index`` in libavformat/mov.c of FFmpeg
8.0). From the first track on whose samples are not in the index of the file,
as in a fragmented one, it only shifts the times, by the first edit
(``mov_read_trak`` and ``mov_build_index``).

Numbers in brackets are sections of ISO/IEC 14496-12.
"""

import os
import struct
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

EMPTY_EDIT = -1
NORMAL_RATE = 1 << 16
CONTAINERS = (b'edts', b'mdia', b'minf', b'stbl')
MAX_DEPTH = 3
# As many bytes of each box as matter.
LEAVES = {b'mvhd': 24, b'tkhd': 24, b'elst': 2**20, b'mdhd': 24, b'stts': 8}
MAX_SEGMENT_INDEX = 2**20


class Box(NamedTuple):
    """A box (4.2): its type, where its content begins, and its end.

    The end is what the box says itself, also where the file ends before.
    """

    kind: bytes
    begin: int
    end: int


class Edit(NamedTuple):
    """An entry of an edit list (8.6.6).

    Attributes:
        duration: How long it is shown, in the timescale of the movie.
        media_time: Where it begins, in that of the track; or ``EMPTY_EDIT``.
        rate: In units of 1/65,536; 0 holds the first frame.
    """

    duration: int
    media_time: int
    rate: int


class EditList(NamedTuple):
    """The edits of a track, without empty ones of no length.

    Attributes:
        edits: In their order; none if there is no list.
        are_followed: Whether FFmpeg does more than to shift the times.
        movie_timescale: Units in a second.
        track_timescale: Likewise.
    """

    edits: list[Edit] = []
    are_followed: bool = True
    movie_timescale: int = 0
    track_timescale: int = 0

    @property
    def first(self) -> int:
        """The position of the edit that shifts the times."""
        return int(bool(self.edits) and self.edits[0].media_time == EMPTY_EDIT)


def find_unsupported_edit(path: str, track: int) -> str | None:
    """Describe the first edit that FFmpeg does not follow, if there is one."""
    edit_list = read_edits(path, track)
    edits = edit_list.edits
    if not edit_list.are_followed and len(edits) > edit_list.first + 1:
        return (
            'its edit list has several parts, which its frames do not follow'
        )
    while edits and edits[0].media_time == EMPTY_EDIT:
        edits = edits[1:]
    if any(edit.media_time == EMPTY_EDIT for edit in edits):
        return 'its edit list pauses behind frames'
    if any(edit.rate == 0 for edit in edits):
        return 'its edit list holds a frame'
    if any(edit.rate != NORMAL_RATE for edit in edits):
        return 'its edit list changes the speed'
    return None


def check_end(
    container: Any, stream: Any, packets: int, pts: Sequence[int]
) -> None:
    """Make sure that a file holds the frames of its index, and no others.

    Args:
        container: PyAV's container, read to its end.
        stream: Its video stream.
        packets: How many were in it.
        pts: When those frames are shown whose packets are not to be discarded.

    Raises:
        ValueError: If the index of an MP4 file promises more, if its last
            fragment is cut off, or if an edit leaves out frames that FFmpeg
            shows.
    """
    if not container.format.name.startswith('mov,'):
        return
    promised = len(stream.index_entries)
    if packets < promised:
        # Some writers note a frame that they dropped as an empty one.
        promised = sum(entry.size > 0 for entry in stream.index_entries)
    if packets < promised:
        raise ValueError(
            f'it is cut off: its index promises {promised} frames, '
            f'{packets} are there'
        )
    if stream.frames < packets and is_fragment_missing(container.name):
        raise ValueError('it is cut off: a fragment is incomplete')
    if (stream.index or not stream.frames) and _edits_cut_fragments(
        read_edits(container.name, stream.id), pts
    ):
        raise ValueError('its edit list cuts off frames of fragments')


def _edits_cut_fragments(edit_list: EditList, pts: Sequence[int]) -> bool:
    edits, are_followed, movie_timescale, track_timescale = edit_list
    if are_followed or not edits or not pts or not movie_timescale:
        return False
    pause = edits[0].duration if edit_list.first else 0
    # 0 is the duration of all fragments (8.6.6.1).
    duration = edits[-1].duration
    begin, end = (
        round(time * track_timescale / movie_timescale)
        for time in (pause, duration)
    )
    return min(pts) < begin or bool(duration and max(pts) - min(pts) >= end)


def is_fragment_missing(path: str) -> bool:
    """Whether a fragmented file ends before its last fragment does.

    That is, before the end of its last box, or of what its segment index
    refers to.
    """
    size, end, is_fragmented = os.path.getsize(path), 0, False
    with open(path, 'rb') as file:
        for box in find_boxes(file, 0, size):
            is_fragmented |= box.kind == b'moof'
            if box.kind in (b'moof', b'mdat'):
                end = max(end, box.end)
            elif box.kind == b'sidx':
                content = read_content(file, box, MAX_SEGMENT_INDEX)
                end = max(end, box.end + _referenced_size(content))
    return is_fragmented and end > size


def _referenced_size(index: bytes) -> int:
    """Sum up the bytes to which a segment index refers (8.16.3)."""
    is_long = index[:1] == b'\1'
    offset = _unpack('>Q', index, 20) if is_long else _unpack('>I', index, 16)
    begin = 32 if is_long else 24
    count = min(_unpack('>H', index, begin - 2), (len(index) - begin) // 12)
    # The highest bit is the type of the reference.
    return offset + sum(
        _unpack('>I', index, begin + 12 * number) & 2**31 - 1
        for number in range(count)
    )


def read_edits(path: str, track: int) -> EditList:
    """Read the edit list of a track; an empty one if that is impossible."""
    are_followed, timescale = True, 0
    with open(path, 'rb') as file:
        for kind, found in _read_movie(file):
            if kind == b'mvhd':
                timescale = _read_after_dates(found[kind])
                continue
            are_followed &= _unpack('>I', found[b'stts'], 4) > 0
            if _read_after_dates(found[b'tkhd']) == track:
                return EditList(
                    _parse_edits(found[b'elst']),
                    are_followed,
                    timescale,
                    _read_after_dates(found[b'mdhd']),
                )
    return EditList()


def _read_movie(
    file: BinaryIO,
) -> Iterator[tuple[bytes, dict[bytes, bytes]]]:
    """Give the header of the first movie, and the leaves of each track."""
    size = file.seek(0, 2)
    boxes = find_boxes(file, 0, size)
    movie = next((box for box in boxes if box.kind == b'moov'), None)
    if movie is None:
        return
    end = min(movie.end, size)
    for box in find_boxes(file, movie.begin, end):
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
    depth: int = MAX_DEPTH,
) -> None:
    for box in find_boxes(file, begin, end):
        if box.kind in CONTAINERS and depth:
            _collect(file, box.begin, min(box.end, end), found, depth - 1)
        elif box.kind in LEAVES:
            found[box.kind] = read_content(file, box, LEAVES[box.kind])


def _parse_edits(content: bytes) -> list[Edit]:
    layout = '>Qqi' if content[:1] == b'\1' else '>Iii'
    size = struct.calcsize(layout)
    count = min(_unpack('>I', content, 4), max(len(content) - 8, 0) // size)
    edits = [
        Edit(*struct.unpack_from(layout, content, 8 + number * size))
        for number in range(count)
    ]
    return [e for e in edits if e.media_time != EMPTY_EDIT or e.duration]


def _read_after_dates(header: bytes) -> int:
    """The id in a track header, the timescale in the other headers."""
    return _unpack('>I', header, 20 if header[:1] == b'\1' else 12)


def find_boxes(file: BinaryIO, begin: int, end: int) -> Iterator[Box]:
    """Find boxes that follow each other, up to what cannot be one."""
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


def read_content(file: BinaryIO, box: Box, max_bytes: int) -> bytes:
    """Read what is in a box; less if the file ends before."""
    file.seek(box.begin)
    return file.read(min(box.end - box.begin, max_bytes))


def _unpack(layout: str, content: bytes, place: int) -> int:
    """Read a number; 0 behind the end."""
    if len(content) < place + struct.calcsize(layout):
        return 0
    return struct.unpack_from(layout, content, place)[0]
