"""Frames by position, told by the number that each frame shows."""

import json

import av
import numpy as np
import pytest

from mmtvr.video import DecordReader, UnreadableVideoError

# Files of ../shared/clips/stress on which decord is right when it jumps.
EXACT = [
    'five_frames_b.mp4',
    'h263_352x288.3gp',
    'h264_allintra.mp4',
    'h264_b3_gop250.mp4',
    'h264_b3_gop25_closed.mp4',
    'h264_crf20.flv',
    'h264_crf20.mkv',
    'h264_fragmented.mp4',
    'h264_high10.mp4',
    'h264_sar2.mp4',
    'hevc_8bit.mp4',
    'mjpeg.mov',
    'msmpeg4v3.avi',
    'naïve 名前 (1)#%20.mp4',
    'odd_321x241_444.mp4',
    'one_frame.mp4',
    'right_data_no_ext',
    'start_offset_2s.mp4',
    'vfr_irregular.mkv',
    'vp8.webm',
    'vp9.webm',
]


def read_stress_stamp(frame):
    """Sixteen bits in blocks of 16x16 at the top of a 320x240 picture."""
    height, width = frame.shape[:2]
    row = frame[round(8 * height / 240)].mean(axis=-1)
    places = [int((16 * bit + 8) * width / 320) for bit in range(16)]
    return int(''.join('1' if row[i] > 127 else '0' for i in places), 2)


def test_frames_come_in_the_asked_order(tiny_videos, read_stamp):
    reader = DecordReader(tiny_videos / 'videos' / 'video0.mp4')
    assert len(reader) == 40
    assert reader.original_shape == (64, 96)
    indices = [39, 0, 7, 7, 13]
    frames = reader.get_frames(indices)
    assert frames.shape == (5, 64, 96, 3)
    assert frames.dtype == np.uint8
    assert [read_stamp(frame) for frame in frames] == indices


def test_times_start_at_zero(tiny_videos):
    reader = DecordReader(tiny_videos / 'videos' / 'video3.mp4')
    np.testing.assert_allclose(reader.get_times(), np.arange(5) / 10)


@pytest.mark.parametrize(
    ('name', 'short_side', 'shape'),
    [
        ('video0.mp4', 32, (32, 48)),  # a width at which decord fails
        ('video0.mp4', 16, (16, 24)),
        ('video0.mp4', 48, (48, 72)),
        ('video1.mp4', 40, (60, 40)),
        ('video2.mp4', 60, (60, 80)),
        ('video2.mp4', 80, (80, 107)),  # reduced after decoding
        ('video2.mp4', 96, (96, 128)),
        ('video2.mp4', 500, (96, 128)),  # never enlarged
        ('video4.mp4', None, (48, 48)),
        ('video4.mp4', 24, (24, 24)),
    ],
)
def test_short_side_keeps_aspect_frames_and_colours(
    tiny_videos, read_stamp, name, short_side, shape
):
    path = tiny_videos / 'videos' / name
    reader = DecordReader(path, short_side)
    frames = reader.get_frames([3, 20, 11])
    assert frames.shape == (3, *shape, 3)
    assert [read_stamp(frame) for frame in frames] == [3, 20, 11]
    whole = DecordReader(path).get_frames([3]).mean(axis=(0, 1, 2))
    # The means of the colour channels; filters differ at the borders.
    np.testing.assert_allclose(frames[0].mean(axis=(0, 1)), whole, atol=5)


def test_narrow_frames_equal_those_of_another_decoder(tiny_videos):
    path = tiny_videos / 'videos' / 'video4.mp4'
    with av.open(str(path)) as container:
        expected = [
            frame.to_ndarray(format='rgb24')
            for frame in container.decode(video=0)
        ]
    frames = DecordReader(path).get_frames([0, 17, 39])
    np.testing.assert_array_equal(
        frames, np.stack([expected[i] for i in (0, 17, 39)])
    )


@pytest.mark.parametrize('content', [b'', b'no video at all' * 100])
def test_unreadable_file_is_named(tmp_path, content):
    path = tmp_path / 'broken.mp4'
    path.write_bytes(content)
    with pytest.raises(UnreadableVideoError, match=r'broken\.mp4'):
        DecordReader(path)


def test_truncated_file_is_unreadable(tiny_videos, tmp_path):
    whole = (tiny_videos / 'videos' / 'video2.mp4').read_bytes()
    path = tmp_path / 'short.mp4'
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UnreadableVideoError, match=r'short\.mp4'):
        DecordReader(path).get_frames([0, 20])


@pytest.mark.shared
@pytest.mark.parametrize('short_side', [None, 120])
@pytest.mark.parametrize('name', EXACT)
def test_stress_clips_show_the_asked_frames(shared_dir, name, short_side):
    folder = shared_dir / 'clips' / 'stress'
    numbers = json.loads((folder / 'expected.json').read_text())[name]
    reader = DecordReader(folder / name, short_side)
    assert len(reader) == len(numbers)
    count = len(numbers)
    indices = [(2 * i + 1) * count // 24 for i in range(12)]
    frames = reader.get_frames(indices)
    stamps = [read_stress_stamp(frame) for frame in frames]
    assert stamps == [numbers[i] for i in indices]


@pytest.mark.shared
def test_rotated_clip_is_reduced_as_displayed(shared_dir):
    path = shared_dir / 'clips' / 'stress' / 'rot90.mp4'
    reader = DecordReader(path, 120)
    assert reader.original_shape == (320, 240)
    assert reader.get_frames([5]).shape == (1, 160, 120, 3)


@pytest.mark.shared
@pytest.mark.parametrize(
    'name', ['audio_only.mp4', 'empty.mp4', 'random_bytes.mp4']
)
def test_stress_files_without_video_are_unreadable(shared_dir, name):
    with pytest.raises(UnreadableVideoError):
        DecordReader(shared_dir / 'clips' / 'stress' / name)
