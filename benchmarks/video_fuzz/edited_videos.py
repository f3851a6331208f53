"""Kinds of MP4 files that are shown in another way than they are stored."""

import struct
from pathlib import Path
from typing import Any

import av

from benchmarks.video_fuzz.mp4_boxes import (
    TABLES,
    TRACK,
    change_box,
    find_box,
    make_box,
    set_edits,
    set_matrix,
    split_boxes,
)
from benchmarks.video_fuzz.stamped_videos import (
    Encoding,
    copy_packets,
    write_video,
)
from benchmarks.video_fuzz.video_kind import GOP12, SHARP, Kind

# FFmpeg's muxer shifts the first picture by two frames, for the B-frames.
BEGIN = 2 / 25
FRAGMENTS = 'frag_keyframe+empty_moov+default_base_moof'
WHOLE = list(range(60))


def edited(
    name: str,
    file: str,
    edits: list[tuple[float, float, int]],
    numbers: list[int],
    movflags: str = '',
) -> Kind:
    """Describe a file with an edit list.

    Args:
        name: What it is called in the table.
        file: Name of the file.
        edits: For each part how long it is shown, where it begins (both in
            seconds; -1 for a pause), and its speed.
        numbers: The frames that it shows; none if it is to be refused.
        movflags: Options of FFmpeg's muxer.

    Returns:
        The kind.
    """

    def make(path: Path) -> list[int]:
        container = {'movflags': movflags} if movflags else None
        write_video(path, Encoding(options=GOP12), container)
        shifted = [
            (seconds, begin if begin == -1 else begin + BEGIN, speed)
            for seconds, begin, speed in edits
        ]
        set_edits(path, shifted)
        return numbers

    return Kind(name, file, make)


def turned(
    name: str,
    file: str,
    matrix: tuple[int, int, int, int],
    turn: int,
    mirrored: bool,
) -> Kind:
    """Describe a file with a matrix.

    Args:
        name: What it is called in the table.
        file: Name of the file.
        matrix: See :func:`mp4_boxes.set_matrix`.
        turn: Degrees, clockwise, by which it turns.
        mirrored: Whether it then swaps left and right.

    Returns:
        The kind.
    """

    def make(path: Path) -> list[int]:
        numbers = write_video(path, Encoding(options=GOP12))
        set_matrix(path, *matrix)
        return numbers

    return Kind(name, file, make, turn, mirrored)


def with_exif(path: Path, orientation: int) -> list[int]:
    """Motion JPEG with a segment of EXIF in each picture, as of cameras."""
    source = path.with_name(f'source-of-{path.stem}.mov')
    numbers = write_video(source, Encoding('mjpeg', 'yuvj420p', SHARP))
    entry = struct.pack('<HHIHH', 0x112, 3, 1, orientation, 0)
    exif = b'Exif\0\0II*\0' + struct.pack('<IH', 8, 1) + entry + bytes(4)
    segment = b'\xff\xe1' + struct.pack('>H', len(exif) + 2) + exif

    def insert(packets: list[Any]) -> list[Any]:
        changed = []
        for packet in packets:
            data = bytes(packet)
            new = av.Packet(data[:2] + segment + data[2:])
            new.pts, new.dts = packet.pts, packet.dts
            new.duration = packet.duration
            new.time_base, new.is_keyframe = packet.time_base, True
            changed.append(new)
        return changed

    copy_packets(source, path, insert)
    source.unlink()
    return numbers


TWO_PARTS = edited(
    'H.264, edits: two parts',
    'edit_two.mp4',
    [(0.8, 0, 1), (0.8, 1.6, 1)],
    [*range(20), *range(40, 60)],
)


def behind_empty_track(path: Path) -> list[int]:
    """Two parts, behind a track in which nothing is."""
    TWO_PARTS.make(path)
    data = path.read_bytes()
    track = find_box(data, TRACK)
    for name in ('stts', 'ctts', 'stss', 'stsc', 'stco'):
        track = change_box(track, (*TABLES[2:], name), lambda _: bytes(8))
    track = change_box(track, (*TABLES[2:], 'stsz'), lambda _: bytes(12))
    track = change_box(
        track,
        ('tkhd',),
        lambda head: head[:12] + bytes([0, 0, 0, 9]) + head[16:],
    )

    def change(index: bytes) -> bytes:
        boxes = split_boxes(index)
        boxes.insert(1, ('trak', track))
        return b''.join(make_box(*box) for box in boxes)

    path.write_bytes(change_box(data, TRACK[:1], change))
    return []


EDITED_KINDS = [
    edited(
        'H.264, edits: a pause first',
        'edit_pause.mp4',
        [(0.5, -1, 1), (2.4, 0, 1)],
        WHOLE,
    ),
    TWO_PARTS,
    Kind(
        'H.264, edits: two parts, behind an empty track',
        'edit_two_second.mp4',
        behind_empty_track,
    ),
    edited(
        'H.264, edits: parts between keyframes',
        'edit_middle.mp4',
        [(1, 0.2, 1), (0.4, 1.6, 1)],
        [*range(5, 30), *range(40, 50)],
    ),
    edited(
        'H.264, edits: parts the other way round',
        'edit_back.mp4',
        [(0.8, 1.6, 1), (0.8, 0, 1)],
        [*range(40, 60), *range(20)],
    ),
    edited(
        'H.264, edits: a part twice',
        'edit_twice.mp4',
        [(1, 0, 1), (1, 0, 1)],
        [*range(25), *range(25)],
    ),
    edited(
        'H.264, edits: begins before the first picture',
        'edit_before.mp4',
        [(2.4, -BEGIN / 2, 1)],
        list(range(59)),
    ),
    edited(
        'H.264, edits: a pause between pictures',
        'edit_gap.mp4',
        [(0.8, 0, 1), (0.4, -1, 1), (0.8, 0.8, 1)],
        [],
    ),
    edited(
        'H.264, edits: a picture that is held',
        'edit_held.mp4',
        [(1, 0.4, 0), (1.6, 0.8, 1)],
        [],
    ),
    edited('H.264, edits: another speed', 'edit_fast.mp4', [(1.2, 0, 2)], []),
    edited(
        'H.264, edits: a pause of no length',
        'edit_no_pause.mp4',
        [(2.4, 0, 1), (0, -1, 1)],
        WHOLE,
    ),
    edited(
        'H.264, fragmented, edits: the whole',
        'edit_fragments.mp4',
        [(0, 0, 1)],
        WHOLE,
        FRAGMENTS,
    ),
    edited(
        'H.264, fragmented, edits: two parts',
        'edit_fragments_two.mp4',
        [(0.8, 0, 1), (0.8, 1.6, 1)],
        [],
        FRAGMENTS,
    ),
    edited(
        'H.264, fragmented, edits: the end',
        'edit_fragments_end.mp4',
        [(0, 1.2, 1)],
        [],
        FRAGMENTS,
    ),
    edited(
        'H.264, fragmented, edits: the beginning',
        'edit_fragments_begin.mp4',
        [(1.2, 0, 1)],
        [],
        FRAGMENTS,
    ),
    turned('H.264, mirrored', 'mirrored.mp4', (-1, 0, 0, 1), 0, True),
    turned('H.264, upside down', 'upside_down.mp4', (1, 0, 0, -1), 180, True),
    turned('H.264, mirrored, turned', 'mirror_90.mp4', (0, 1, 1, 0), 90, True),
    turned(
        'H.264, mirrored, turned', 'mirror_270.mp4', (0, -1, -1, 0), 270, True
    ),
    Kind('Motion JPEG, EXIF', 'exif.mov', lambda path: with_exif(path, 1)),
    Kind(
        'Motion JPEG, EXIF: mirrored, turned',
        'exif_mirror.avi',
        lambda path: with_exif(path, 5),
        90,
        True,
    ),
]
