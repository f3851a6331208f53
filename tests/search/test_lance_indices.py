from mmtvr.search import lance_indices
from mmtvr.search.lance_store import LanceStore
from mmtvr.search.records import FileEntry


def test_entries_are_found_by_key_through_an_index(tmp_path, monkeypatch):
    monkeypatch.setattr(lance_indices, 'ROWS_FOR_KEYS', 10)
    store = LanceStore(str(tmp_path / 'index'))
    store.write_about(dict(width=4, precision='float16', parts=1))
    files = [FileEntry(f'/v/{i}.mp4', f'{i:02x}') for i in range(12)]
    store.put_files(files[:9])
    store.tidy()
    table = store._table('files')
    assert not table.list_indices()
    store.put_files(files[9:11])
    store.tidy()
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
