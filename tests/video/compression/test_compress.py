"""Copies that are right, and copies that are refused."""

import json

import av
import numpy as np
import pytest

from mmtvr.datasets.readers import get_reader
from mmtvr.video import UnreadableVideoError
from mmtvr.video.compression import Compression, LossyCopyError, compress_video
from mmtvr.video.compression import compress as module
from mmtvr.video.compression.compress import even_size, psnr
from mmtvr.video.compression.writing import write_h264

OPEN = get_reader('auto')
HOW = Compression(fps=2.0, short_side=48)


def compress(source, target, how=HOW, reader=OPEN):
    return compress_video(str(source), str(target), reader, how)


@pytest.mark.parametrize(
    ('name', 'shape'),
    [('video0.mp4', (48, 72)), ('video1.mp4', (72, 48))],
)
def test_copy_shows_the_frames_of_the_source(
    tiny_videos, tmp_path, read_stamp, name, shape
):
    source = tiny_videos / 'videos' / name
    before = source.read_bytes()
    target = tmp_path / 'deep' / 'copy.avi'
    assert compress(source, target) == target.stat().st_size
    with OPEN(target) as copy:
        assert copy.original_shape == shape
        frames = copy.get_frames(range(len(copy)))
        np.testing.assert_allclose(copy.get_times(), np.arange(len(copy)) / 2)
    count = 40 if name == 'video0.mp4' else 30
    # The source has 10 frames per second.
    assert [read_stamp(frame) for frame in frames] == list(range(0, count, 5))
    assert source.read_bytes() == before
    assert [each.name for each in target.parent.iterdir()] == ['copy.avi']


def test_slow_and_small_video_keeps_rate_and_size(tmp_path):
    source, target = tmp_path / 'slow.mp4', tmp_path / 'copy.mp4'
    frames = np.linspace(0, 255, 4 * 33 * 47 * 3).astype(np.uint8)
    frames = frames.reshape(4, 33, 47, 3)
    times = np.array([0, 1.5, 2.0, 4.25])
    lasting = np.array([1.5, 0.5, 2.25, 1.5])
    write_h264(str(source), frames, (32, 46), times, lasting, 10)
    compress(source, target)
    with OPEN(target) as copy:
        np.testing.assert_allclose(copy.get_times(), times, atol=1e-3)
        assert copy.original_shape == (32, 46)
    with av.open(str(target)) as container:
        assert container.duration / av.time_base == pytest.approx(
            5.75, abs=0.01
        )
        assert not container.streams.audio


def test_odd_sizes_become_even():
    assert even_size((241, 321), 224) == (224, 298)
    assert even_size((241, 321), None) == (240, 320)
    assert even_size((225, 399), 224) == (224, 396)
    assert even_size((1, 1), 224) == (2, 2)


def test_source_without_ascending_times_is_refused(tiny_videos, tmp_path):
    class Backwards(OPEN.func):
        def get_times(self):
            return super().get_times()[::-1]

    with pytest.raises(UnreadableVideoError, match='do not ascend'):
        compress(
            tiny_videos / 'videos/video0.mp4', tmp_path / 'x', HOW, Backwards
        )
    assert not list(tmp_path.iterdir())


def write_less(path, frames, size, times, durations, crf):
    frames = list(frames)[:-1]
    write_h264(path, frames, size, times[:-1], durations[:-1], crf)


def write_shifted(path, frames, size, times, durations, crf):
    frames = list(frames)
    write_h264(path, frames[1:] + frames[:1], size, times, durations, crf)


def write_fast(path, frames, size, times, durations, crf):
    write_h264(path, frames, size, times / 2, durations / 2, crf)


def write_coarse(path, frames, size, times, durations, crf):
    write_h264(path, frames, size, times, durations, 51)


def write_small(path, frames, size, times, durations, crf):
    write_h264(path, frames, (16, 16), times, durations, crf)


def write_nothing(path, frames, size, times, durations, crf):
    list(frames)
    open(path, 'w').close()


@pytest.mark.parametrize(
    ('write', 'message'),
    [
        (write_less, '7 frames instead of 8'),
        (write_shifted, 'frame 0 of the copy agrees'),
        (write_fast, 'other times'),
        (write_coarse, 'dB only'),
        (write_small, r'\(16, 16\) pixels'),
        (write_nothing, 'cannot be read'),
    ],
)
def test_copy_that_lost_something_is_not_kept(
    tiny_videos, tmp_path, monkeypatch, write, message
):
    monkeypatch.setattr(module, 'write_h264', write)
    with pytest.raises(LossyCopyError, match=message):
        compress(tiny_videos / 'videos' / 'video0.mp4', tmp_path / 'copy.mp4')
    assert not list(tmp_path.iterdir())


def test_long_videos_are_read_in_blocks(tiny_videos, tmp_path, monkeypatch):
    monkeypatch.setattr(module, 'BLOCK_BYTES', 3 * 48 * 72 * 3)
    source = tiny_videos / 'videos' / 'video0.mp4'
    compress(source, tmp_path / 'blocks.mp4')
    monkeypatch.undo()
    compress(source, tmp_path / 'whole.mp4')
    blocks = (tmp_path / 'blocks.mp4').read_bytes()
    assert blocks == (tmp_path / 'whole.mp4').read_bytes()


def test_psnr_by_hand():
    black = np.zeros((2, 2, 3), np.uint8)
    assert psnr(black, black) == np.inf
    assert psnr(black, black + 255) == 0
    assert psnr(black, black + 51) == pytest.approx(20 * np.log10(5))


def read_stress_stamp(frame):
    """Sixteen bits in blocks of 16x16 at the top of a 320x240 picture."""
    row = frame[round(8 * len(frame) / 240)].mean(axis=-1)
    places = [int((16 * bit + 8) * len(row) / 320) for bit in range(16)]
    return int(''.join('1' if row[i] > 127 else '0' for i in places), 2)


@pytest.mark.shared
@pytest.mark.parametrize(
    'name',
    [
        'editlist_copycut.mp4',
        'mpeg2.mpg',
        'mpeg4_xvid_b.avi',
        'odd_321x241_444.mp4',
        'vfr_irregular.mkv',
    ],
)
def test_copies_of_hostile_files_show_the_right_frames(
    shared_dir, tmp_path, name
):
    folder = shared_dir / 'clips' / 'stress'
    numbers = json.loads((folder / 'expected.json').read_text())[name]
    target = tmp_path / name
    compress(folder / name, target, Compression())
    with OPEN(folder / name) as source, OPEN(target) as copy:
        times = source.get_times()
        shown = np.searchsorted(times, copy.get_times() + 1e-3, 'right') - 1
        frames = copy.get_frames(range(len(copy)))
        assert copy.original_shape[0] == 224
    stamps = [read_stress_stamp(frame) for frame in frames]
    assert stamps == [numbers[place] for place in shown]
