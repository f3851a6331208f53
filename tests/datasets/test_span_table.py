"""SpanTable: every caption finds its spans, on disk as in memory."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmtvr.datasets.keywords import SpanTable

spans = st.lists(
    st.tuples(st.integers(0, 500), st.integers(0, 500)), max_size=4
)


@given(st.dictionaries(st.text(), spans))
def test_table_gives_back_what_it_was_built_from(content):
    table = SpanTable.build(list(content), content.values())
    assert len(table) == len(content)
    for caption, expected in content.items():
        assert table.get(caption) == expected
    assert table.get('no caption of them all, surely') is None


def make_table():
    return SpanTable.build(['a', 'b', 'c'], [[(0, 1)], [], [(0, 1), (2, 5)]])


@pytest.mark.parametrize('way', ['file', 'pickle'])
def test_copies_are_equal(tmp_path, way):
    table = make_table()
    if way == 'file':
        table.save(tmp_path / 'table.npz')
        copy = SpanTable.load(tmp_path / 'table.npz')
        assert [path.name for path in tmp_path.iterdir()] == ['table.npz']
    else:
        copy = pickle.loads(pickle.dumps(table))
    assert [copy.get(x) for x in 'abcd'] == [
        *([(0, 1)], [], [(0, 1), (2, 5)], None)
    ]


@pytest.mark.parametrize('damage', ['empty', 'half', 'foreign', 'short'])
def test_damaged_file_is_refused(tmp_path, damage):
    path = tmp_path / 'table.npz'
    table = make_table()
    table.save(path)
    if damage == 'empty':
        path.write_bytes(b'')
    elif damage == 'half':
        path.write_bytes(path.read_bytes()[:200])
    elif damage == 'foreign':
        np.savez(path, keys=np.array([object()], dtype=object))
    else:
        np.savez(
            path, keys=table.keys, bounds=table.bounds, spans=table.spans[:1]
        )
    with pytest.raises(ValueError, match='span table'):
        SpanTable.load(path)


def test_failed_write_leaves_nothing(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError('disk full')

    monkeypatch.setattr(np, 'savez_compressed', fail)
    with pytest.raises(OSError, match='disk full'):
        make_table().save(tmp_path / 'table.npz')
    assert not list(tmp_path.iterdir())
