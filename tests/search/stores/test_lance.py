import sys
from itertools import count

import lancedb  # noqa: F401  for a test that takes its place
import numpy as np
import pydantic
import pytest

from mmtvr.errors import SetupError
from mmtvr.search.stores import lance as lance_indices
from mmtvr.search.stores.base import FileEntry, StoredVideos
from mmtvr.search.stores.lance import LanceStore


def test_entries_are_found_by_key_through_an_index(tmp_path, monkeypatch):
    monkeypatch.setattr(lance_indices, 'ROWS_FOR_KEYS', 10)
    store = LanceStore(str(tmp_path / 'index'))
    store.create(dict(width=4, precision='float16', parts=1))
    files = [FileEntry(f'/v/{i}.mp4', f'{i:02x}') for i in range(12)]
    store.put_files(files[:9])
    store.compact()
    table = store._table('files')
    assert not table.list_indices()
    store.put_files(files[9:11])
    store.compact()
    assert {i.columns[0] for i in table.list_indices()} == {'key', 'content'}
    # Also what came and went after the index was made.
    store.put_files(files[11:])
    store.remove_files([files[0].key])
    assert store.find_entry(files[11].key) == files[11]
    assert store.find_entry(files[3].key) == files[3]
    assert store.find_entry(files[0].key) is None


def test_lists_grow_with_the_root_of_the_vectors():
    assert lance_indices.count_lists(1) == 1
    assert lance_indices.count_lists(1_000_000) == 62
    assert lance_indices.count_lists(4_000_000) == 125


def test_importing_lancedb_leaves_pydantic_as_it_was(tmp_path, monkeypatch):
    build = pydantic.validate_call
    package = tmp_path / 'lancedb.py'
    package.write_text(
        'import pydantic\n'
        '@pydantic.validate_call\n'
        'def double(number: int): return 2 * number\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, 'lancedb')
    found = lance_indices._import_lancedb()
    assert pydantic.validate_call is build
    # What it decorated meanwhile still checks.
    assert found.double('4') == 8
    with pytest.raises(pydantic.ValidationError):
        found.double('four')
    monkeypatch.setitem(sys.modules, 'lancedb', None)
    with pytest.raises(SetupError, match='lancedb'):
        lance_indices._import_lancedb()
    assert pydantic.validate_call is build


@pytest.fixture
def fill(tmp_path, monkeypatch):
    """Function that adds random videos and tidies; returns the indices."""
    monkeypatch.setattr(lance_indices, 'ROWS_FOR_VECTORS', 300)
    monkeypatch.setattr(lance_indices, 'count_lists', lambda rows: rows // 300)
    store = LanceStore(str(tmp_path / 'index'))
    numbers = count()

    def run(videos, width):
        if store.read_info() is None:
            store.create(dict(width=width, precision='int8', parts=1))
        pooled = np.random.default_rng(videos).standard_normal((videos, width))
        pooled /= np.linalg.norm(pooled, axis=1, keepdims=True)
        pooled = pooled.astype(np.float32)
        contents = [f'{next(numbers):08x}' for _ in range(videos)]
        none = [np.zeros((0, width), np.float32)] * videos
        times = [np.zeros(0, np.float32)] * videos
        store.add_videos(StoredVideos(contents, pooled, none, times))
        store.compact()
        assert store.nearest(pooled[7], 1)[0][1] == pytest.approx(1, abs=1e-2)
        return [index.name for index in store._table('videos').list_indices()]

    return run


def test_lists_are_made_anew_for_a_table_that_has_grown(fill):
    assert fill(300, 64) == ['vector_1']
    assert fill(900, 64) == ['vector_1']
    assert fill(301, 64) == ['vector_5']


def test_vectors_that_have_no_index_are_scanned(fill):
    assert fill(300, 12) == []
