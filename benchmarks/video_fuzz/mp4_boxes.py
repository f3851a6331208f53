"""Changes in MP4 files that no muxer at hand writes.

The index of the files must stand behind the pictures, as FFmpeg puts it, so
that its length may change.
"""

import struct
from collections.abc import Callable
from pathlib import Path

Change = Callable[[bytes], bytes]
TRACK = ('moov', 'trak')
TABLES = (*TRACK, 'mdia', 'minf', 'stbl')


def make_box(kind: str, content: bytes) -> bytes:
    """Put a length and a name in front.

    Args:
        kind: Four letters.
        content: What the box holds.

    Returns:
        The box.
    """
    return struct.pack('>I4s', len(content) + 8, kind.encode()) + content


def split_boxes(data: bytes) -> list[tuple[str, bytes]]:
    """Take boxes that follow each other apart.

    Args:
        data: Boxes.

    Returns:
        Name and content of each.
    """
    boxes, place = [], 0
    while place < len(data):
        size, kind = struct.unpack_from('>I4s', data, place)
        boxes.append((kind.decode('latin-1'), data[place + 8 : place + size]))
        place += size
    return boxes


def change_box(data: bytes, path: tuple[str, ...], change: Change) -> bytes:
    """Change the content of the first box at a path.

    Args:
        data: Boxes, as a whole file.
        path: Names from the outermost box to the one to be changed.
        change: From the old content to the new.

    Returns:
        The boxes with the new content.

    Raises:
        KeyError: If there is none.
    """
    boxes = split_boxes(data)
    place = [kind for kind, _ in boxes].index(path[0])
    kind, content = boxes[place]
    if len(path) > 1:
        content = change_box(content, path[1:], change)
    else:
        content = change(content)
    boxes[place] = kind, content
    return b''.join(make_box(*box) for box in boxes)


def find_box(data: bytes, path: tuple[str, ...]) -> bytes:
    """Get the content of the first box at a path.

    Args:
        data: Boxes, as a whole file.
        path: Names from the outermost box to the one to be found.

    Returns:
        Its content.
    """
    for kind in path:
        data = dict(reversed(split_boxes(data)))[kind]
    return data


def set_matrix(path: Path, a: int, b: int, c: int, d: int) -> None:
    """Note how pictures are to be turned and mirrored.

    Args:
        path: An MP4 file with one track.
        a: Of x, to the right.
        b: Of x, downwards.
        c: Of y, to the right.
        d: Of y, downwards.
    """
    matrix = struct.pack(
        '>9i', a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30
    )

    def change(header: bytes) -> bytes:
        return header[:40] + matrix + header[76:]

    data = change_box(path.read_bytes(), (*TRACK, 'tkhd'), change)
    path.write_bytes(data)


def set_edits(path: Path, edits: list[tuple[float, float, int]]) -> None:
    """Note which parts are to be shown.

    Args:
        path: An MP4 file with one track.
        edits: For each part how long it is shown, where it begins (both in
            seconds; -1 for a pause), and its speed.
    """
    data = path.read_bytes()
    whole = struct.unpack_from('>I', find_box(data, ('moov', 'mvhd')), 12)[0]
    header = find_box(data, (*TRACK, 'mdia', 'mdhd'))
    own = struct.unpack_from('>I', header, 12)[0]
    content = struct.pack('>II', 0, len(edits))
    for seconds, begin, rate in edits:
        start = -1 if begin == -1 else round(begin * own)
        content += struct.pack('>Iihh', round(seconds * whole), start, rate, 0)

    def change(track: bytes) -> bytes:
        boxes = [box for box in split_boxes(track) if box[0] != 'edts']
        boxes.insert(1, ('edts', make_box('elst', content)))
        return b''.join(make_box(*box) for box in boxes)

    path.write_bytes(change_box(data, TRACK, change))
