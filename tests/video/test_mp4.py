"""Edit lists of files written by hand, also of impossible ones."""

import struct
import tracemalloc

import pytest

from mmtvr.video.mp4 import Edit, find_unsupported_edit, read_edits


def box(kind, *contents, size=None):
    content = b''.join(contents)
    size = len(content) + 8 if size is None else size
    return struct.pack('>I4s', size, kind) + content


def track(number, *others):
    return box(
        b'trak', box(b'tkhd', bytes(12), struct.pack('>I', number)), *others
    )


def edit_list(*edits):
    entries = b''.join(struct.pack('>Iii', *edit) for edit in edits)
    return box(
        b'edts', box(b'elst', struct.pack('>II', 0, len(edits)), entries)
    )


PICTURES = box(
    b'mdia', box(b'minf', box(b'stbl', box(b'stts', struct.pack('>II', 0, 1))))
)
PARTS = edit_list((10, 0, 1 << 16), (10, 50, 1 << 16))


def test_edits_are_those_of_the_track(tmp_path):
    path = tmp_path / 'video.mp4'
    path.write_bytes(
        box(b'moov', track(1, PICTURES), track(2, PARTS, PICTURES))
    )
    assert read_edits(path, 1).edits == []
    edits = read_edits(path, 2)
    assert edits.edits == [Edit(10, 0, 1 << 16), Edit(10, 50, 1 << 16)]
    assert edits.are_followed
    assert find_unsupported_edit(path, 2) is None


def test_edits_behind_a_track_without_pictures_are_not_followed(tmp_path):
    path = tmp_path / 'video.mp4'
    path.write_bytes(box(b'moov', track(1), track(2, PARTS, PICTURES)))
    assert not read_edits(path, 2).are_followed
    assert 'several parts' in find_unsupported_edit(path, 2)


@pytest.mark.parametrize(
    'strange',
    [
        box(b'tkhd', struct.pack('>Q', 15), size=1),
        box(b'tkhd', size=7),
        box(b'elst', size=4) * 100,
        box(b'tkhd', size=0),
        box(b'elst', size=2**31),
        box(b'elst', b'\1'),
        b'\0\0\0\1tkhd',
        box(b'edts', size=0) * 3000,
    ],
)
def test_impossible_sizes_cost_nothing(tmp_path, strange):
    path = tmp_path / 'video.mp4'
    path.write_bytes(box(b'moov', box(b'trak', strange, size=0), size=0))
    with path.open('r+b') as file:
        file.truncate(2**30)
    tracemalloc.start()
    try:
        assert read_edits(path, 0).edits == []
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()
