"""Animated GIF and WebP: frames, times, transparency and hostile files."""

import struct

import numpy as np
import pytest
from PIL import Image, ImageDraw

from mmtvr.files import find_video_files
from mmtvr.video import AnimationReader, AutoReader, UnreadableVideoError
from mmtvr.video.animation_reader import BACKGROUND
from mmtvr.video.inspection import inspect_video
from mmtvr.video.supervised_reader import SupervisedReader

COLORS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)]
DURATIONS = [100, 40, 250, 10]
KINDS = ('gif', 'webp')
every_kind = pytest.mark.parametrize('kind', KINDS)


def paint(color, size=(48, 32)):
    """A frame whose left half is of a colour and whose right is not there."""
    image = Image.new('RGBA', size)
    box = (0, 0, size[0] // 2 - 1, size[1])
    ImageDraw.Draw(image).rectangle(box, fill=color)
    return image


@pytest.fixture
def write(tmp_path):
    """Write an animation of coloured halves."""

    def write(kind, colors=COLORS, durations=DURATIONS):
        path = tmp_path / f'animation.{kind}'
        first, *others = map(paint, colors)
        options = dict(lossless=True) if kind == 'webp' else dict(disposal=2)
        if others:
            options |= dict(
                save_all=True, append_images=others, duration=durations, loop=0
            )
        first.save(path, **options)
        return path

    return write


@every_kind
def test_frames_are_composited_on_the_background(write, kind):
    with AutoReader(write(kind)) as reader:
        assert len(reader) == 4
        assert reader.original_shape == (32, 48)
        assert (reader.codec, reader.rotation) == (kind, 0)
        frames = reader.get_frames([2, 0, 2, 3])
    assert frames.shape == (4, 32, 48, 3)
    for frame, number in zip(frames, (2, 0, 2, 3), strict=True):
        assert tuple(frame[5, 5]) == COLORS[number]
        assert tuple(frame[5, 40]) == BACKGROUND


@every_kind
def test_times_are_the_sums_of_the_durations(write, kind):
    with AutoReader(write(kind)) as reader:
        times = reader.get_times()
        np.testing.assert_allclose(times, [0, 0.1, 0.14, 0.39])
        # Like browsers and FFmpeg: the last of 10 ms is shown for 100.
        assert reader.fps == pytest.approx(4 / 0.49)


def test_gifs_are_read_as_ffmpeg_reads_them(shared_dir):
    from mmtvr.video import PyAVReader

    path = shared_dir / 'clips/stress/anim.gif'
    with AutoReader(path) as ours, PyAVReader(path) as theirs:
        assert len(ours) == len(theirs)
        np.testing.assert_allclose(ours.get_times(), theirs.get_times())
        chosen = [0, len(ours) // 2, len(ours) - 1]
        np.testing.assert_array_equal(
            ours.get_frames(chosen), theirs.get_frames(chosen)
        )


@every_kind
def test_frames_are_reduced_like_those_of_other_readers(write, kind):
    with AutoReader(write(kind), short_side=16) as reader:
        frames = reader.get_frames([1])
        assert reader.original_shape == (32, 48)
    assert frames.shape == (1, 16, 24, 3)
    assert tuple(frames[0, 5, 5]) == COLORS[1]


@every_kind
def test_the_decoder_process_reads_them_too(write, kind):
    with SupervisedReader(
        str(write(kind)), reader=AutoReader, time_limit=60.0
    ) as reader:
        assert tuple(reader.get_frames([3])[0, 5, 5]) == COLORS[3]


@every_kind
def test_one_frame_is_an_image_and_no_video(write, kind):
    path = write(kind, COLORS[:1])
    with pytest.raises(UnreadableVideoError, match='an image, not a video'):
        AutoReader(path)
    with pytest.raises(UnreadableVideoError, match='an image, not a video'):
        inspect_video(str(path))


@every_kind
def test_every_truncation_is_found(write, kind):
    path = write(kind)
    content = path.read_bytes()
    for size in range(14, len(content), 7):
        path.write_bytes(content[:size])
        with pytest.raises(UnreadableVideoError, match='cut off'):
            AnimationReader(path)


@every_kind
def test_flipped_bytes_raise_or_give_frames(write, kind):
    path = write(kind)
    content = path.read_bytes()
    random = np.random.default_rng(0)
    raised = 0
    for _ in range(60):
        damaged = bytearray(content)
        damaged[random.integers(12, len(content))] ^= random.integers(1, 256)
        path.write_bytes(damaged)
        try:
            with AnimationReader(path) as reader:
                assert reader.get_frames([len(reader) - 1]).ndim == 4
        except UnreadableVideoError:
            raised += 1
    assert raised > 5


def test_a_huge_canvas_is_refused_before_it_is_decoded(write):
    path = write('gif')
    content = bytearray(path.read_bytes())
    content[6:10] = struct.pack('<HH', 65535, 65535)
    path.write_bytes(content)
    with pytest.raises(UnreadableVideoError, match='65535 x 65535 pixels'):
        AutoReader(path)


def test_frames_outside_the_canvas_are_refused(write):
    path = write('gif')
    content = bytearray(path.read_bytes())
    content[6:10] = struct.pack('<HH', 4, 4)
    path.write_bytes(content)
    with pytest.raises(UnreadableVideoError, match='leave the canvas'):
        AutoReader(path)


@every_kind
def test_positions_outside_are_refused(write, kind):
    with AutoReader(write(kind)) as reader:
        with pytest.raises(IndexError, match='it has 4 frames'):
            reader.get_frames([4])
        with pytest.raises(ValueError, match='no frame'):
            reader.get_frames([])


@every_kind
def test_inspection_and_search_of_folders_know_them(write, kind):
    path = write(kind)
    assert list(find_video_files(path.parent, {})) == [str(path)]
    found = inspect_video(str(path))
    assert (found['codec'], found['frames_held']) == (kind, 4)
    assert found['seconds'] == pytest.approx(0.49)
    assert found['sizes'] == [(32, 48)]
    assert not found['end']
    assert found['contrast'] > 20


def test_content_decides_and_not_the_name(write, tmp_path):
    path = write('webp').rename(tmp_path / 'animation.mp4')
    with AutoReader(path) as reader:
        assert len(reader) == 4


def test_memory_does_not_grow_with_the_frames(tmp_path):
    import tracemalloc

    path = tmp_path / 'long.webp'
    frames = [
        Image.new('RGB', (256, 256), (number, 0, 0)) for number in range(200)
    ]
    frames[0].save(
        path, save_all=True, append_images=frames[1:], duration=20, quality=50
    )
    with AnimationReader(path) as reader:
        last = len(reader) - 1
        reader.get_frames([0])
        tracemalloc.start()
        reader.get_frames([last])
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 12 * 256 * 256 * 4
