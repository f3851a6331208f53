"""An index that is damaged, removed or made again, while it is used or not."""

import random
import shutil

import numpy as np
import pytest

from benchmarks.faults.damage_index import DAMAGES, damages
from mmtvr.apis import open_searcher
from mmtvr.cli.main import main
from mmtvr.doctor.index import check_index
from mmtvr.errors import SetupError
from mmtvr.search.query import search_by_vectors
from mmtvr.search.stores import checksums, open_store
from mmtvr.search.stores.base import (
    DamagedIndexError,
    IndexUnavailableError,
    StoredVideos,
)
from mmtvr.search.stores.lance import LanceStore

# As the fixtures of this folder have it.
WIDTH = 16
QUERY = np.eye(WIDTH, dtype=np.float32)[:1]


def look(index):
    store = open_store(index)
    store.require_info()
    found = search_by_vectors(index, QUERY)
    return found, sorted(each.to_json() for each in store.list_files())


@pytest.fixture(autouse=True)
def hurried(monkeypatch):
    """Do not wait for another process that might be compacting."""
    monkeypatch.setattr(checksums, 'SECONDS_BETWEEN', 0)


@pytest.fixture
def index(videos, index_folder, tmp_path):
    """An index of three videos in two commits."""
    index_folder([videos], tmp_path / 'index')
    (videos / 'four.mp4').write_bytes(b'four')
    index_folder([videos], tmp_path / 'index')
    return tmp_path / 'index'


@pytest.mark.parametrize(
    ('has_checksums', 'kinds'),
    [(True, ('flip 0.4', 'delete')), (False, ('flip 0.7', 'empty'))],
)
def test_a_damaged_file_gives_one_message_or_the_same(
    index, has_checksums, kinds
):
    # Old versions may be left, whose files nobody reads.
    open_store(index).compact()
    if not has_checksums:
        (index / checksums.NAME).unlink()
    expected, tried, refused, reported = look(index), 0, 0, 0
    for file, damage, copy in damages(index, 0, kinds):
        tried += 1
        try:
            found = look(copy)
        except SetupError as error:
            refused += str(copy) in str(error)
            continue
        if has_checksums:
            assert found == expected, (file, damage)
        elif found != expected:
            reported += 1
    assert tried > 6 * len(kinds)
    assert refused > tried / 4
    # Without checksums some bits make other features of the same length.
    assert reported <= 5


def test_the_doctor_names_each_damaged_file(index, capsys):
    (sound,) = check_index(str(index))
    assert (sound.severity, sound.text[:8]) == ('ok', '4 videos')
    files = sorted((index / 'videos.lance/data').iterdir())
    files[0].write_bytes(b'')
    other = next((index / 'files.lance/data').iterdir())
    data = bytearray(other.read_bytes())
    data[len(data) // 3] ^= 4
    other.write_bytes(data)
    assert main(['doctor', str(index)]) == 1
    shown = capsys.readouterr().out
    assert files[0].name in shown
    assert other.name in shown
    assert 'mmtvr index CONFIG VIDEOS' in shown
    with pytest.raises(DamagedIndexError, match=r'is damaged \('):
        look(index)


def test_an_index_without_checksums_gets_them_with_the_next_change(
    index, videos, index_folder
):
    (index / checksums.NAME).unlink()
    note, sound = check_index(str(index))
    assert (note.severity, sound.severity) == ('warning', 'ok')
    assert 'have no checksum' in note.text
    (videos / 'five.mp4').write_bytes(b'five')
    index_folder([videos], index)
    assert [each.severity for each in check_index(str(index))] == ['ok']


@pytest.mark.parametrize('cut', [1, 10])
def test_a_list_that_was_being_written_is_no_damage(index, cut):
    path = index / checksums.NAME
    path.write_bytes(path.read_bytes()[:-cut])
    assert look(index)
    checksums.update_checksums(index)
    assert [each.severity for each in check_index(str(index))] == ['ok']


@pytest.mark.parametrize('length', [0.0, 538.0])
def test_features_that_no_model_makes_are_refused(index, length):
    store = open_store(index)
    tokens = [np.zeros((1, WIDTH), np.float32)]
    pooled = QUERY * np.float32(length)
    times = [np.zeros(1, np.float32)]
    store.add_videos(StoredVideos(['ab'], pooled, tokens, times))
    assert any(each.severity == 'error' for each in check_index(str(index)))
    if length:
        with pytest.raises(DamagedIndexError, match='damaged'):
            search_by_vectors(index, QUERY)


def test_an_open_index_says_that_another_model_made_it_again(
    index, videos, index_folder, tmp_path
):
    store = open_store(index)
    store.require_info()
    assert store.count_videos() == 4
    index.rename(tmp_path / 'kept')
    for _ in range(2):
        with pytest.raises(IndexUnavailableError, match='no longer there'):
            store.count_videos()
    index_folder([videos], index, model='d' * 24, name='new')
    with pytest.raises(IndexUnavailableError, match=r'another model.*new'):
        store.nearest(QUERY[0], 3)
    with pytest.raises(IndexUnavailableError, match='another model'):
        store.find_entry('0' * 32)
    shutil.rmtree(index)
    (tmp_path / 'kept').rename(index)
    assert store.count_videos() == 4
    # And one of the same model takes its place without a word.
    shutil.rmtree(index)
    (videos / 'one.mp4').unlink()
    index_folder([videos], index)
    assert store.count_videos() == 3
    assert len(store.nearest(QUERY[0], 9)) == 3


def test_damage_under_way_is_said_and_goes_with_it(index):
    store = open_store(index)
    store.require_info()
    contents = sorted(store.list_contents())
    kept = {
        p: p.read_bytes() for p in (index / 'videos.lance').rglob('*.lance')
    }
    for path in kept:
        path.unlink()
    with pytest.raises(DamagedIndexError):
        open_store(index).require_info()
    for path, data in kept.items():
        path.write_bytes(data)
    assert store.read_videos(contents).contents == contents


def test_damages_differ(index):
    rng = random.Random(0)
    made = [change(bytes(range(200)), rng) for change in DAMAGES.values()]
    assert len({str(each) for each in made}) == len(DAMAGES)


@pytest.mark.parametrize(
    'change',
    [
        *(dict(folder=1), dict(folder=None), dict(model=None), dict(name=[])),
        *(dict(checkpoint='x'), dict(checkpoint=3), dict(config='')),
        *(dict(config='{{{'), dict(config='model=3'), dict(config='a=1')),
        dict(config='test_dataloader=[1]'),
        dict(config='test_dataloader=dict(dataset=dict(pipeline=[dict()]))'),
        dict(config='default_scope=3'),
    ],
    ids=str,
)
def test_malformed_facts_give_one_message(tmp_path, change):
    facts = dict(
        format=1,
        name='shapes',
        model='0',
        pipeline='0',
        checkpoint=None,
        config='',
        width=8,
        parts=1,
        precision='float16',
    )
    store = LanceStore(str(tmp_path / 'index'))
    store.create(facts | change)
    with pytest.raises(SetupError, match=r'index|config'):
        open_searcher(tmp_path / 'index')
