"""How a file is read, and what stays usable where that fails."""

import numpy as np
import pytest

from mmtvr.video import AutoReader, PyAVReader, UnreadableVideoError
from mmtvr.video.selective_reader import SelectiveReader


@pytest.fixture
def copy(tiny_videos, tmp_path):
    """A video that a test may change, of 40 frames."""
    path = tmp_path / 'copy.mp4'
    path.write_bytes((tiny_videos / 'videos/video0.mp4').read_bytes())
    return path


def break_promises(monkeypatch):
    monkeypatch.setattr(
        SelectiveReader, '_feed', lambda self, packets: iter(())
    )


def test_packets_of_unknown_containers_are_not_read_ahead(
    copy, read_stamp, monkeypatch
):
    monkeypatch.setattr('mmtvr.video.trust.CONTAINERS', ())
    monkeypatch.delattr(SelectiveReader, '_read_packets')
    reader = AutoReader(copy)
    assert reader.in_order.startswith('container mov')
    assert read_stamp(reader.get_frames([30])[0]) == 30


def test_what_no_trial_changes_is_tried_once(copy, monkeypatch):
    tables = []
    read = SelectiveReader._read_packets

    def mark_odd(self):
        table = read(self)
        tables.append(table._replace(odd=np.ones_like(table.odd)))
        return tables[-1]

    monkeypatch.setattr(SelectiveReader, '_read_packets', mark_odd)
    assert 'edit list' in AutoReader(copy).in_order
    assert len(tables) == 1


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
    monkeypatch.setattr('mmtvr.video.pyav_reader.KEPT_BYTES', 0)
    break_promises(monkeypatch)
    reader = kind(copy)
    away = copy.rename(copy.with_name('away.mp4'))
    with pytest.raises(UnreadableVideoError, match='No such file'):
        reader.get_frames([7])
    assert reader.fps == 10
    assert reader.codec == 'h264'
    away.rename(copy)
    assert read_stamp(reader.get_frames([7])[0]) == 7
