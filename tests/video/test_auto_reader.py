"""How a file is read, and what stays usable where that fails."""

import sys

import numpy as np
import pytest

from mmtvr.video import AutoReader, PyAVReader, UnreadableVideoError
from mmtvr.video.auto_reader import MustReadInOrderError, SelectiveReader


@pytest.fixture
def copy(tiny_videos, tmp_path):
    """A video that a test may change, of 40 frames."""
    path = tmp_path / 'copy.mp4'
    path.write_bytes((tiny_videos / 'videos/video0.mp4').read_bytes())
    return path


def break_promises(monkeypatch):
    monkeypatch.setattr(
        SelectiveReader, '_feed', lambda self, packets, wanted: iter(())
    )


def test_packets_of_unknown_containers_are_not_read_ahead(
    copy, read_stamp, monkeypatch
):
    monkeypatch.setattr('mmtvr.video.auto_reader.CONTAINERS', ())
    monkeypatch.delattr(SelectiveReader, '_read_packets')
    reader = AutoReader(copy)
    assert reader.in_order.startswith('container mov')
    assert read_stamp(reader.get_frames([30])[0]) == 30


def test_what_no_trial_changes_is_tried_once(copy, monkeypatch):
    reads = []
    read = SelectiveReader._read_packets

    def count(self):
        reads.append(self)
        return read(self)

    monkeypatch.setattr(SelectiveReader, '_read_packets', count)
    monkeypatch.setattr('mmtvr.video.auto_reader._is_odd', lambda packet: True)
    assert 'edit list' in AutoReader(copy).in_order
    assert len(reads) == 1


def test_one_reader_of_a_file_learns_nothing_false_from_another(
    copy, read_stamp
):
    content = copy.read_bytes()
    size = content.index(b'avc1', content.index(b'stsd')) + 28
    other = (32).to_bytes(2, 'big') * 2
    copy.write_bytes(content[:size] + other + content[size + 4 :])
    first, second = AutoReader(copy), AutoReader(copy)
    for reader in (first, second):
        assert read_stamp(reader.get_frames([7])[0]) == 7
        assert not reader.in_order


@pytest.mark.parametrize('kind', [AutoReader, PyAVReader])
def test_reader_stays_usable_where_its_file_was_away(
    copy, read_stamp, monkeypatch, kind
):
    monkeypatch.setattr('mmtvr.video.pyav_reader.MAX_FRAME_BYTES', 0)
    break_promises(monkeypatch)
    reader = kind(copy)
    away = copy.rename(copy.with_name('away.mp4'))
    with pytest.raises(UnreadableVideoError, match='No such file'):
        reader.get_frames([7])
    assert reader.fps == 10
    assert reader.codec == 'h264'
    away.rename(copy)
    assert read_stamp(reader.get_frames([7])[0]) == 7


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
        PyAVReader, '_decode_all', lambda self: looks.append(1)
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
    monkeypatch.setattr('mmtvr.video.auto_reader.MAX_PACKET_BYTES', 0)
    reader = SelectiveReader(tiny_videos / 'videos/video0.mp4')
    indices = [39, 0, 13, 13, 25]
    assert [read_stamp(f) for f in reader.get_frames(indices)] == indices


def test_decoder_that_breaks_its_promise_is_read_in_order(
    tiny_videos, read_stamp, tmp_path, monkeypatch
):
    path = tmp_path / 'copy.mp4'
    path.write_bytes((tiny_videos / 'videos/video0.mp4').read_bytes())
    reader = AutoReader(path)
    break_promises(monkeypatch)
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
        SelectiveReader(path, probe_decoder=False).get_frames([7])
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
