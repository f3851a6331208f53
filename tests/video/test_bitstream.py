"""What packets say of themselves, on packets written by hand."""

import tracemalloc

import pytest

from mmtvr.video.bitstream import get_inspector
from mmtvr.video.h264_fields import is_field, read_sequence

# First bytes of frames of VP9: a marker, the profile, then three flags.
KEY, LATER, HIDDEN = b'\x82\x49', b'\x86\0', b'\x84\0'
SHOWN_AGAIN = b'\x88'
# High profile, only frames; main profile, fields too.
FRAMES = bytes.fromhex('6764000bacd942c4e840000003004000000c83c50a6580')
FIELDS = bytes.fromhex('674d001e9654164240')


def superframe(*frames):
    marker = bytes([0xC0 | len(frames) - 1])
    sizes = bytes(len(frame) for frame in frames)
    return b''.join(frames) + marker + sizes + marker


@pytest.mark.parametrize(
    ('packet', 'closed', 'shown'),
    [
        (KEY, True, True),
        (LATER, False, True),
        (HIDDEN, False, False),
        (SHOWN_AGAIN, False, True),
        (superframe(HIDDEN, LATER), False, True),
        (superframe(KEY, LATER), True, False),
        (superframe(HIDDEN, HIDDEN), False, False),
        (superframe(b''), False, False),
    ],
)
def test_vp9_packets_tell_how_many_pictures_they_show(packet, closed, shown):
    facts = get_inspector('vp9', None)(packet)
    assert (facts.closed, facts.shown) == (closed, shown)


def test_settings_of_h264_tell_whether_there_are_fields():
    assert read_sequence(FRAMES).only_frames
    fields = read_sequence(FIELDS)
    assert not fields.only_frames
    assert fields.number_bits == 8
    with pytest.raises(ValueError, match='too early'):
        read_sequence(FIELDS[:5])


def test_settings_of_h264_that_are_endless_cost_little():
    head = b'\1\x64\0\x0a\xff\xe0\0'
    unit = FIELDS + bytes(10**6)
    tracemalloc.start()
    try:
        inspect = get_inspector('h264', head)
        inspect(len(unit).to_bytes(4, 'big') + unit)
        assert tracemalloc.get_traced_memory()[1] < 10**7
    finally:
        tracemalloc.stop()
    with pytest.raises(ValueError, match='too long'):
        read_sequence(b'\x67\x4d\0\x1e\x81' + b'\xff' * 9)


def test_slices_of_h264_tell_whether_they_are_fields():
    # First macroblock 0, slice type 7, settings 0, number 0, then the flag.
    field = bytes([0x65, 0b10001000, 0b10000000, 0b01000000])
    frame = bytes([0x65, 0b10001000, 0b10000000, 0b00000000])
    assert is_field(field, read_sequence(FIELDS))
    assert not is_field(frame, read_sequence(FIELDS))
    assert not is_field(field, read_sequence(FRAMES))


@pytest.mark.parametrize(
    ('unit', 'layers', 'droppable'),
    [
        ((0 << 1, 1), 1, True),
        ((0 << 1, 1), 2, False),
        ((0 << 1, 1), 0, False),
        ((1 << 1, 1), 1, False),
    ],
)
def test_pictures_below_another_temporal_layer_are_kept(
    unit, layers, droppable
):
    packet = b'\0\0\0\3' + bytes([*unit, 0x80])
    extradata = bytes([1, *[0] * 20, layers << 3 | 3, 0])
    assert get_inspector('hevc', extradata)(packet).droppable is droppable


@pytest.mark.parametrize(
    ('layers', 'shown'), [((0,), True), ((0, 1), True), ((0, 0), False)]
)
def test_other_layers_of_hevc_are_no_pictures(layers, shown):
    units = [bytes([1 << 1, layer << 3 | 1, 0x80]) for layer in layers]
    packet = b''.join(b'\0\0\0\3' + unit for unit in units)
    extradata = bytes([1, *[0] * 20, 3, 0])
    assert get_inspector('hevc', extradata)(packet).shown is shown
