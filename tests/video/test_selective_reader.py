"""When single frames can be decoded, by what the packets of a file say."""

import tracemalloc

import av
import numpy as np
import pytest

from mmtvr.video.auto_reader import (
    MustReadInOrderError,
    SelectiveReader,
    _check_order,
    _get_frame_check,
    _why_not_selective,
    find_starts,
    has_only_frames,
)

# Two closed groups of I P B B in decoding order.
PTS, DTS = [0, 3, 1, 2, 4, 7, 5, 6], list(range(-2, 6))
IS_KEY = [number % 4 == 0 for number in range(8)]
MP4, MKV = 'mov,mp4,m4a,3gp,3g2,mj2', 'matroska,webm'
# High profile, only frames; main profile, fields too.
FRAMES = bytes.fromhex('6764000bacd942c4e840000003004000000c83c50a6580')
FIELDS = bytes.fromhex('674d001e9654164240')
# First bytes of frames of VP9: a marker, the profile, then three flags.
KEY, LATER, HIDDEN = b'\x82\x49\x83\x42', b'\x86\0', b'\x84\0'
SHOWN_AGAIN = b'\x88'


def settings(*sets, head=b'\1\x64\0\x0a\xff'):
    """A decoder configuration record with sequence parameter sets."""
    units = b''.join(len(unit).to_bytes(2, 'big') + unit for unit in sets)
    return head + bytes([0xE0 | len(sets)]) + units + b'\0'


def superframe(*frames):
    marker = bytes([0xC0 | len(frames) - 1])
    sizes = bytes(len(frame) for frame in frames)
    return b''.join(frames) + marker + sizes + marker


@pytest.fixture(scope='module')
def vp9_stream(tools, tmp_path_factory):
    path = tmp_path_factory.mktemp('vp9') / 'vp9.webm'
    tools[0][path.name].make(path)
    with av.open(str(path)) as container:
        yield container.streams.video[0]


def test_usual_packets_are_decoded_one_by_one():
    assert _check_order(PTS, DTS, IS_KEY) is None
    starts = find_starts(np.array(PTS), np.array(IS_KEY))
    assert starts.tolist() == [0, 4]


def test_frames_across_a_keyframe_forbid_to_start_there():
    pts = np.array([0, 4, 1, 2, 5, 7, 3, 6])
    assert find_starts(pts, np.array(IS_KEY)).tolist() == [0]


@pytest.mark.parametrize(
    ('changes', 'reason'),
    [
        (dict(pts=[]), 'no packet'),
        (dict(is_key=np.arange(8) == 4), 'no keyframe at the beginning'),
        (dict(pts=[1, 3, 0, 2, 4, 7, 5, 6]), 'no keyframe at the beginning'),
        (dict(pts=[0, 3, 1, 1, 4, 7, 5, 6]), 'two frames'),
        (dict(pts=[0, 3, None, 2, 4, 7, 5, 6]), 'frames without a time'),
        (dict(dts=[0, 1, 3, 2, 4, 5, 6, 7]), 'out of order'),
    ],
)
def test_unusual_packets_are_read_in_order(changes, reason):
    usual = dict(pts=PTS, dts=DTS, is_key=IS_KEY)
    with pytest.raises(MustReadInOrderError, match=reason):
        _check_order(**{**usual, **changes})


@pytest.mark.parametrize(
    ('container', 'codec', 'extradata', 'reason'),
    [
        (MP4, 'h264', settings(FRAMES), ''),
        (MKV, 'vp9', b'', ''),
        (MKV, 'hevc', b'\1' + bytes(30), ''),
        ('avi', 'h264', settings(FRAMES), 'container avi'),
        (MP4, 'mpeg4', b'', 'codec mpeg4'),
        (MKV, 'h264', b'\0\0\0\1' + FRAMES, 'units without lengths'),
        (MKV, 'hevc', b'', 'units without lengths'),
        (MP4, 'h264', settings(FIELDS), 'fields of frames'),
    ],
)
def test_kinds_of_files_are_known(container, codec, extradata, reason):
    assert _why_not_selective(container, codec, extradata) == reason


def test_settings_of_h264_tell_whether_there_are_fields():
    assert has_only_frames(settings(FRAMES))
    assert has_only_frames(settings(FRAMES, FRAMES))
    assert not has_only_frames(settings(FRAMES, FIELDS))
    assert not has_only_frames(settings())
    assert not has_only_frames(settings(FRAMES[:5]))
    assert not has_only_frames(settings(FRAMES)[:12])


@pytest.mark.parametrize('filler', [b'\0', b'\xff', b'\x55', b'\x24'])
def test_endless_settings_of_h264_cost_little(filler):
    unit = FIELDS[:4] + filler * 65000
    tracemalloc.start()
    try:
        has_only_frames(settings(unit))
        assert tracemalloc.get_traced_memory()[1] < 10**7
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ('packet', 'expected'),
    [
        (KEY, True),
        (LATER, True),
        (HIDDEN, False),
        (SHOWN_AGAIN, True),
        (superframe(HIDDEN, LATER), True),
        (superframe(KEY, LATER), False),
        (superframe(HIDDEN, HIDDEN), False),
    ],
)
def test_packets_of_vp9_show_one_frame_or_not(vp9_stream, packet, expected):
    assert _get_frame_check(vp9_stream)(av.Packet(packet)) is expected


@pytest.mark.parametrize(
    ('name', 'skips'), [('hevc_layers.mp4', False), ('hevc_closed.mp4', True)]
)
def test_frames_below_another_temporal_layer_are_decoded(
    tools, tmp_path, name, skips
):
    kinds, compare, *_ = tools
    numbers = kinds[name].make(tmp_path / name)
    assert SelectiveReader(tmp_path / name)._skips is skips
    assert compare.judge(SelectiveReader, tmp_path / name, numbers) == 'right'


def test_only_wanted_and_referenced_frames_are_decoded(
    tiny_videos, read_stamp, monkeypatch
):
    reader = SelectiveReader(tiny_videos / 'videos/video0.mp4')
    came = []
    feed = SelectiveReader._feed

    def count(self, *args):
        for each in feed(self, *args):
            came.append(each)
            yield each

    monkeypatch.setattr(SelectiveReader, '_feed', count)
    frames = reader.get_frames(range(40))
    assert [read_stamp(frame) for frame in frames] == list(range(40))
    everything = len(came)
    came.clear()
    assert read_stamp(reader.get_frames([38])[0]) == 38
    assert len(came) < everything
