"""Whether a file holds the pictures that its index promises, and no more."""

import os
from collections.abc import Sequence
from typing import Any

from mmtvr.video.edit_lists import why_too_many
from mmtvr.video.mp4_boxes import find_boxes, read_content, read_number

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
