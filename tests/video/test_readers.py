"""The right frames of every kind of file, by the number that each shows."""

import functools
import sys

import numpy as np
import pytest

from mmtvr.datasets.readers import get_reader
from mmtvr.errors import SetupError
from mmtvr.video import (
    AutoReader,
    DecordReader,
    PyAVReader,
    TorchCodecReader,
    UnreadableVideoError,
)

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
        ('edit_gap.mp4', 'its edit list pauses behind frames'),
        ('edit_held.mp4', 'its edit list holds a frame'),
        ('edit_fast.mp4', 'its edit list changes the speed'),
        ('edit_two_second.mp4', 'its edit list has several parts'),
        ('edit_fragments_two.mp4', 'its edit list has several parts'),
        ('edit_fragments_end.mp4', 'its edit list cuts off'),
        ('edit_fragments_begin.mp4', 'its edit list cuts off'),
        ('cut_fragments.mp4', 'it is cut off: a fragment is incomplete'),
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


@pytest.mark.parametrize('name', ['opencv', 'mmtvr.OpenCVReader'])
def test_removed_reader_names_another(name):
    for reader in (name, dict(type=name)):
        with pytest.raises(SetupError, match=f"{name}.*reader='auto'"):
            get_reader(reader)


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


@pytest.mark.parametrize('indices', [[40], [-1]])
def test_positions_outside_are_refused(tiny_videos, indices):
    for reader in (AutoReader, PyAVReader):
        with pytest.raises(IndexError, match='40 frames'):
            reader(tiny_videos / 'videos/video0.mp4').get_frames(indices)


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
