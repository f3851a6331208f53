"""The right frames of every kind of file, by the number that each shows."""

import functools
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmtvr.errors import SetupError
from mmtvr.video import (
    AutoReader,
    DecordReader,
    OpenCVReader,
    PyAVReader,
    TorchCodecReader,
    UnreadableVideoError,
)
from mmtvr.video.selective_reader import (
    MustReadInOrderError,
    SelectiveReader,
)

TOOLS = Path(__file__).resolve().parents[2] / 'tools/analysis'
HERE = [
    'h264.mp4',
    'h264_open.mp4',
    'h264_refresh.mp4',
    'h264_90.mp4',
    'h264_48.mp4',
    'h264_vfr.mkv',
    'h264_five.mp4',
    'h264_edit.mp4',
    'h264_tail.ts',
    'h264_size.ts',
    'two_streams.mp4',
    'cover.mp4',
    'vp8.webm',
    'vp9.webm',
    'mpeg4_b.avi',
    'mpeg2.mpg',
    'wmv2.wmv',
]

# How PyAVReader reads them does not differ from how AutoReader does.
HERE_BY_AUTO = [
    'fields.mkv',
    'fields_pair.mkv',
    'edit_back.mp4',
    'edit_fragments.mp4',
    'edit_no_pause.mp4',
    'exif_mirror.avi',
    'mirror_90.mp4',
    'mpeg2_size.mpg',
    'programs.mpg',
    'two_settings.mp4',
    'text_first.mov',
]

# Left edge and colour, in the second-last 16 rows of a picture 320 wide.
STRESS_PATCHES = [
    (0, (255, 0, 0)),
    (32, (0, 255, 0)),
    (64, (0, 0, 255)),
    (96, (255, 255, 255)),
    (128, (128, 128, 128)),
    (160, (0, 0, 0)),
]


@pytest.fixture(scope='module')
def tools():
    """The scripts that make and judge stamped videos."""
    sys.path.insert(0, str(TOOLS))
    try:
        import compare_readers
        import joined_videos
        import stamped_videos
        import video_kinds
    finally:
        sys.path.remove(str(TOOLS))
    kinds = {kind.file: kind for kind in video_kinds.KINDS}
    return kinds, compare_readers, stamped_videos, joined_videos


@pytest.fixture(scope='module')
def made(tools, tmp_path_factory):
    """A file of a kind, made once."""
    folder = tmp_path_factory.mktemp('kinds')

    @functools.cache
    def make(name):
        path = folder / name
        return path, tools[0][name].make(path)

    return make


@pytest.mark.parametrize('reader', [AutoReader, PyAVReader])
@pytest.mark.parametrize('name', HERE)
def test_frames_are_right(tools, made, name, reader):
    kinds, compare, *_ = tools
    path, numbers = made(name)
    assert numbers
    assert compare.judge(reader, path, numbers, kinds[name].turn) == 'right'


@pytest.mark.parametrize('name', HERE_BY_AUTO)
def test_frames_of_rarer_files_are_right(tools, tmp_path, name):
    kinds, compare, *_ = tools
    path = tmp_path / name
    numbers = kinds[name].make(path)
    kind = kinds[name]
    found = compare.judge(AutoReader, path, numbers, kind.turn, kind.mirrored)
    assert numbers
    assert found == 'right'


@pytest.mark.parametrize(
    ('name', 'reason'),
    [
        ('edit_gap.mp4', 'its edit list pauses behind pictures'),
        ('edit_held.mp4', 'its edit list holds a picture'),
        ('edit_fast.mp4', 'its edit list changes the speed'),
        ('edit_two_second.mp4', 'its edit list has parts'),
        ('edit_fragments_two.mp4', 'its edit list has parts'),
        ('edit_fragments_end.mp4', 'its edit list cuts off'),
        ('edit_fragments_begin.mp4', 'its edit list cuts off'),
        ('cut_fragments.mp4', 'it is cut off: a fragment is not whole'),
        ('cut.avi', 'a packet is damaged or cut off'),
        ('cut_between.mp4', 'it is cut off: its index promises 60'),
    ],
)
def test_what_would_be_wrong_is_refused(tools, tmp_path, name, reason):
    path = tmp_path / name
    tools[0][name].make(path)
    with pytest.raises(UnreadableVideoError, match=f'{name}: {reason}'):
        AutoReader(path).get_frames([0])


@pytest.mark.parametrize(
    'name',
    [
        'empty.mp4',
        'page.mp4',
        'sound.m4a',
        'song.mp4',
        'cut.mp4',
        'cut_index_first.mp4',
    ],
)
def test_what_cannot_be_decoded_is_named(tools, tmp_path, name):
    path = tmp_path / name
    assert tools[0][name].make(path) == []
    with pytest.raises(UnreadableVideoError, match=f'{name}: .+'):
        AutoReader(path).get_frames([0, 30, 59])


def test_times_stay_where_the_size_changes(tools, tmp_path):
    path = tmp_path / 'size.ts'
    tools[3].join(path, 'mpeg2video', [{'bf': '2'}] * 2, pause=10)
    ticks = [*range(30), *range(40, 70)]
    with PyAVReader(path) as reader:
        np.testing.assert_allclose(reader.get_times(), np.array(ticks) / 25)


def test_opencv_reads_in_order(tools, tmp_path):
    kinds, compare, *_ = tools
    path = tmp_path / 'mpeg2.mpg'
    numbers = kinds[path.name].make(path)
    assert compare.judge(OpenCVReader, path, numbers) == 'right'


def test_judging_finds_wrong_frames(tools, tmp_path):
    kinds, compare, *_ = tools
    path = tmp_path / 'h264.mp4'
    numbers = kinds[path.name].make(path)
    verdict = compare.judge(AutoReader, path, numbers[::-1])
    assert verdict.endswith('of 30 frames')
    assert compare.judge(AutoReader, path, numbers[:-1]) != 'right'


def test_torchcodec_is_optional(tiny_videos, monkeypatch):
    monkeypatch.setitem(sys.modules, 'torchcodec.decoders', None)
    with pytest.raises(SetupError, match="reader='auto'"):
        TorchCodecReader(tiny_videos / 'videos/video0.mp4')


def test_auto_needs_no_decord(tiny_videos, read_stamp, monkeypatch):
    monkeypatch.setitem(sys.modules, 'decord', None)
    with AutoReader(tiny_videos / 'videos/video0.mp4') as reader:
        assert [read_stamp(f) for f in reader.get_frames([39, 4])] == [39, 4]
        assert reader.codec == 'h264'
        assert reader.fps == 10
        assert reader.rotation == 0
        assert not reader.in_order


def test_decision_is_remembered_until_the_file_changes(
    tools, tmp_path, monkeypatch
):
    kinds, *_ = tools
    path = tmp_path / 'mpeg4_b.avi'
    kinds[path.name].make(path)
    assert AutoReader(path).in_order == 'container avi'
    looks = []
    monkeypatch.setattr(
        PyAVReader, '_look_through', lambda self: looks.append(1)
    )
    assert len(AutoReader(path)) == 60
    assert not looks
    path.write_bytes(path.read_bytes() + b'\0')
    with pytest.raises(TypeError):
        len(AutoReader(path))
    assert looks


def test_packets_are_fetched_again_from_large_files(
    tiny_videos, read_stamp, monkeypatch
):
    monkeypatch.setattr('mmtvr.video.selective_reader.KEPT_BYTES', 0)
    reader = SelectiveReader(tiny_videos / 'videos/video0.mp4')
    indices = [39, 0, 13, 13, 25]
    assert [read_stamp(f) for f in reader.get_frames(indices)] == indices


def test_decoder_that_breaks_its_promise_is_read_in_order(
    tiny_videos, read_stamp, tmp_path, monkeypatch
):
    path = tmp_path / 'copy.mp4'
    path.write_bytes((tiny_videos / 'videos/video0.mp4').read_bytes())
    reader = AutoReader(path)
    monkeypatch.setattr(
        SelectiveReader, '_feed', lambda self, packets: iter(())
    )
    assert [read_stamp(f) for f in reader.get_frames([7, 30])] == [7, 30]
    assert reader.in_order == 'frames that were not expected'


def test_container_that_tells_another_size_is_seen_through(
    tiny_videos, read_stamp, tmp_path
):
    content = bytearray((tiny_videos / 'videos/video0.mp4').read_bytes())
    size = content.index(b'avc1', content.index(b'stsd')) + 28
    content[size : size + 4] = (32).to_bytes(2, 'big') * 2
    path = tmp_path / 'other_size.mp4'
    path.write_bytes(content)
    with pytest.raises(MustReadInOrderError, match='change of the size'):
        SelectiveReader(path, try_decoders=False).get_frames([7])
    with AutoReader(path) as reader, PyAVReader(path) as reference:
        frames = reader.get_frames([7, 30])
        np.testing.assert_array_equal(frames, reference.get_frames([7, 30]))
        assert not reader.in_order
    assert [read_stamp(frame) for frame in frames] == [7, 30]


def test_file_that_changes_between_visits_is_read_anew(
    tiny_videos, read_stamp, tmp_path
):
    path = tmp_path / 'video.mp4'
    for name, count in (('video0.mp4', 40), ('video1.mp4', 30)):
        path.write_bytes((tiny_videos / 'videos' / name).read_bytes())
        with AutoReader(path) as reader:
            assert len(reader) == count
            frames = reader.get_frames([count - 1, 4])
        assert [read_stamp(frame) for frame in frames] == [count - 1, 4]


def test_reduced_pictures_keep_their_colours(tools, tmp_path):
    kinds, compare, *_ = tools
    path = tmp_path / 'h264_444.mp4'
    kinds[path.name].make(path)
    with AutoReader(path) as whole, AutoReader(path, short_side=60) as reduced:
        (picture,) = reduced.get_frames([9])
        (full,) = whole.get_frames([9])
    height, width = picture.shape[:2]
    expected = cv2.resize(full, (width, height), interpolation=cv2.INTER_AREA)
    # Sharp edges differ by the filter.
    assert np.abs(picture.astype(int) - expected).mean() < 3


@pytest.mark.parametrize('indices', [[40], [-1]])
def test_positions_outside_are_refused(tiny_videos, indices):
    for reader in (AutoReader, PyAVReader):
        with pytest.raises(IndexError, match='40 frames'):
            reader(tiny_videos / 'videos/video0.mp4').get_frames(indices)


def read_stress_stamp(frame):
    height, width = frame.shape[:2]
    row = frame[round(8 * height / 240)].mean(axis=-1)
    places = [int((16 * bit + 8) * width / 320) for bit in range(16)]
    return int(''.join('1' if row[i] > 127 else '0' for i in places), 2)


@pytest.mark.shared
@pytest.mark.parametrize('short_side', [None, 120])
def test_all_stress_clips_are_right(shared_dir, short_side):
    folder = shared_dir / 'clips' / 'stress'
    expected = json.loads((folder / 'expected.json').read_text())
    for name, numbers in expected.items():
        if numbers == []:
            with pytest.raises(UnreadableVideoError):
                AutoReader(folder / name)
        elif numbers is not None:
            reader = AutoReader(folder / name, short_side)
            count = len(reader)
            assert count == len(numbers), name
            indices = [(2 * i + 1) * count // 24 for i in range(12)]
            indices = [*indices, count - 1, 0, 0]
            frames = reader.get_frames(indices)
            stamps = [read_stress_stamp(frame) for frame in frames]
            assert stamps == [numbers[i] for i in indices], name


@pytest.mark.shared
def test_colours_of_stress_clips_are_kept(shared_dir):
    folder = shared_dir / 'clips' / 'stress'
    expected = json.loads((folder / 'expected.json').read_text())
    files = [name for name, numbers in expected.items() if numbers]
    assert len(files) > 30
    for name in files:
        reader = AutoReader(folder / name)
        frames = reader.get_frames([0, len(reader) // 2, len(reader) - 1])
        patches = STRESS_PATCHES
        if 'gray' in name:
            patches = patches[3:]
        height, width = frames.shape[1:3]
        rows = slice(height * 211 // 240, height * 221 // 240)
        for left, colour in patches:
            columns = slice(
                width * (left + 6) // 320, width * (left + 26) // 320
            )
            found = frames[:, rows, columns].mean(axis=(1, 2))
            assert np.abs(found - colour).max() <= 5, (name, colour)


@pytest.mark.parametrize(
    'name', ['h264.mp4', 'h264_gop12.mp4', 'h264_intra.mp4']
)
def test_decord_gives_equal_pixels_on_closed_groups(tools, tmp_path, name):
    pytest.importorskip('decord')
    kinds, *_ = tools
    path = tmp_path / name
    kinds[name].make(path)
    indices = [2, 17, 30, 31, 59]
    with AutoReader(path) as auto, DecordReader(path) as decord:
        assert not auto.in_order
        np.testing.assert_array_equal(
            auto.get_frames(indices), decord.get_frames(indices)
        )


@pytest.mark.shared
def test_published_frames_are_met(shared_dir):
    clips = shared_dir / 'clips'
    published = np.load(clips / 'torchcodec_reference_frames.npz')
    met = 0
    for prefix, name in (
        ('nasa_stream3_', 'torchcodec__nasa_13013.mp4'),
        ('h265_', 'torchcodec__h265_video.mp4'),
    ):
        for key in published:
            if key.startswith(prefix):
                index = int(key.removeprefix(prefix))
                frame = AutoReader(clips / name).get_frames([index])[0]
                np.testing.assert_array_equal(frame, published[key])
                met += 1
    assert met == 6
