"""An index that follows its files."""

import io
import os
import time
from datetime import timedelta

import numpy as np
import pytest
from tqdm import tqdm

from mmtvr.errors import SetupError
from mmtvr.search.indexing import Indexer, needs_new_index, remove_files
from mmtvr.search.query import search_by_vectors, without
from mmtvr.search.stores import lance as lance_folder
from mmtvr.search.stores import open_store
from mmtvr.search.stores.base import FileEntry
from mmtvr.search.video_files import find_named, find_videos
from tests.search.conftest import ContentEncoder


def paths(store):
    return sorted(entry.path for entry in store.list_files())


def test_the_same_again_encodes_nothing(videos, index_folder, place):
    first, encoded, _ = index_folder([videos], place)
    assert (first.videos, first.encoded, len(encoded)) == (3, 3, 3)
    again, encoded, _ = index_folder([videos], place)
    assert (again.videos, again.unchanged, encoded) == (3, 3, [])


def test_a_renamed_file_is_not_encoded_again(videos, index_folder, place):
    index_folder([videos], place)
    (videos / 'one.mp4').rename(videos / 'nested/other.mp4')
    report, encoded, store = index_folder([videos], place)
    assert encoded == []
    assert (report.reused, report.removed, report.videos) == (1, 1, 3)
    assert str(videos / 'nested/other.mp4') in paths(store)


def test_a_changed_file_is_encoded_though_size_and_time_are_as_before(
    videos, index_folder, place
):
    path = videos / 'one.mp4'
    before = path.stat()
    index_folder([videos], place)
    path.write_bytes(b'ONE.mp4')
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    report, encoded, store = index_folder([videos], place)
    assert encoded == [str(path)]
    assert store.count_videos() == report.videos == 3


def test_a_removed_file_leaves_with_its_features(videos, index_folder, place):
    index_folder([videos], place)
    (videos / 'one.mp4').unlink()
    report, _, store = index_folder([videos], place)
    assert report.removed == 1
    assert store.count_videos() == 2


def test_copies_are_entries_that_share_features(videos, index_folder, place):
    copy = videos / 'copy.mp4'
    copy.write_bytes((videos / 'one.mp4').read_bytes())
    report, encoded, store = index_folder([videos], place)
    assert report.videos == 4
    assert store.count_videos() == 3
    (videos / 'one.mp4').unlink()
    _, encoded, store = index_folder([videos], place)
    assert encoded == []
    assert (store.count_videos(), len(paths(store))) == (3, 3)


def test_unreadable_files_are_listed_and_not_tried_until_they_change(
    videos, index_folder, place
):
    bad = videos / 'bad.mp4'
    bad.write_bytes(b'broken')
    report, encoded, _ = index_folder([videos], place)
    assert str(bad) in encoded
    assert report.unreadable == {str(bad): 'broken'}
    assert (report.videos, report.encoded, report.skipped) == (3, 3, 0)
    report, encoded, _ = index_folder([videos], place)
    assert encoded == []
    assert report.unreadable == {str(bad): 'broken'}
    assert (report.videos, report.unchanged, report.skipped) == (3, 3, 1)
    # Also under another name, by its content.
    bad = bad.rename(videos / 'worse.mp4')
    report, encoded, _ = index_folder([videos], place)
    assert encoded == []
    assert report.unreadable == {str(bad): 'broken'}
    assert (report.skipped, report.removed) == (1, 1)
    report, encoded, _ = index_folder([videos], place, retry=True)
    assert encoded == [str(bad)]
    assert report.unreadable == {str(bad): 'broken'}
    bad.write_bytes(b'fixed')
    report, encoded, _ = index_folder([videos], place)
    assert report.unreadable == {}
    assert encoded == [str(bad)]


def test_other_folders_stay_when_one_is_indexed(
    videos, index_folder, place, tmp_path
):
    other = tmp_path / 'other'
    other.mkdir()
    (other / 'four.mp4').write_bytes(b'four')
    index_folder([videos], place)
    report, _, _ = index_folder([other], place)
    assert (report.videos, report.removed) == (4, 0)


def test_a_folder_that_lost_all_videos_is_refused(
    videos, index_folder, place, tmp_path
):
    index_folder([videos], place)
    videos.rename(tmp_path / 'elsewhere')
    videos.mkdir()
    with pytest.raises(SetupError, match='not mounted'):
        index_folder([videos], place)
    store = open_store(place)
    assert len(paths(store)) == 3
    remove_files(store, find_named(list(store.list_files()), [str(videos)]))
    assert paths(store) == []
    assert store.count_videos() == 0


def test_facts_can_be_added_later(videos, index_folder, place):
    *_, store = index_folder([videos], place)
    info = {**store.read_info(), 'calibration': [1.5, -0.5]}
    store.write_info(info)
    assert store.read_info() == open_store(place).read_info() == info
    assert store.count_videos() == 3


def test_another_model_is_refused_by_name(videos, index_folder, tmp_path):
    index_folder([videos], tmp_path / 'index')
    with pytest.raises(SetupError, match=r'here\.pth.*there\.pth') as caught:
        index_folder(
            [videos],
            tmp_path / 'index',
            checkpoint='d' * 24,
            checkpoint_path='there.pth',
        )
    assert 'different: checkpoint' in str(caught.value)


def test_other_settings_than_those_of_the_index_are_refused(
    videos, index_folder, about, tmp_path
):
    _, _, store = index_folder([videos], tmp_path / 'index')

    needs_new_index(store, about, asked=dict(precision='float16', parts=None))
    with pytest.raises(SetupError, match='made with precision float16'):
        needs_new_index(store, about, asked=dict(precision='int8', parts=None))
    with pytest.raises(SetupError, match='leave parts 3 out'):
        needs_new_index(store, about, asked=dict(precision=None, parts=3))


def test_two_processes_do_not_index_at_once(videos, index_folder, tmp_path):
    _, _, store = index_folder([videos], tmp_path / 'index')
    with (
        store.lock(),
        pytest.raises(SetupError, match='another process is indexing'),
    ):
        index_folder([videos], tmp_path / 'index')


def test_a_reader_sees_what_is_added_while_it_is_open(
    videos, index_folder, place
):
    index_folder([videos], place)
    reader = open_store(place)
    assert reader.count_videos() == 3
    (videos / 'four.mp4').write_bytes(b'four')
    index_folder([videos], place)
    reader.refresh()
    assert reader.count_videos() == 4


def test_a_folder_cannot_be_switched_to_another_index(tmp_path):
    with pytest.raises(SetupError, match='only an address in Milvus or'):
        open_store(tmp_path / 'index').switch_to('clips_2')


def test_a_folder_of_something_else_is_no_index(tmp_path):
    (tmp_path / 'thesis.txt').write_text('precious')
    with pytest.raises(SetupError, match=r"holds 'thesis\.txt'"):
        open_store(tmp_path)
    with pytest.raises(SetupError, match='no index but a file'):
        open_store(tmp_path / 'thesis.txt')


def test_a_misspelt_index_is_not_there_afterwards_either(place, tmp_path):
    with pytest.raises(SetupError, match='there is no index'):
        open_store(place).require_info()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('parts', [0, -3])
def test_parts_below_one_are_refused_before_an_index_is_made(
    parts, index_folder, videos, tmp_path
):
    with pytest.raises(SetupError, match=f'at least 1, got {parts}'):
        index_folder([videos], tmp_path / 'index', parts=parts)
    assert open_store(tmp_path / 'index').read_info() is None


def test_a_reader_outlives_the_version_that_it_has_open(
    videos, index_folder, tmp_path, monkeypatch
):
    monkeypatch.setattr(lance_folder, 'STALENESS', timedelta(hours=1))
    _, _, store = index_folder([videos], tmp_path / 'index')
    reader = open_store(tmp_path / 'index')
    contents = sorted(reader.list_contents())
    for name in ('four.mp4', 'five.mp4'):
        (videos / name).write_bytes(name.encode())
        index_folder([videos], tmp_path / 'index')
    query = store.read_videos(contents).pooled[0]
    assert reader.nearest(query, 1)[0][0] == contents[0]
    assert len(reader.read_videos(contents).contents) == 3


def test_two_first_indexings_of_one_place_do_not_meet(
    videos, index_folder, tmp_path
):
    with (
        open_store(tmp_path / 'index').lock(),
        pytest.raises(SetupError, match='another process is indexing'),
    ):
        index_folder([videos], tmp_path / 'index')
    assert not (tmp_path / 'index').exists()
    index_folder([videos], tmp_path / 'index')


def test_nothing_is_written_before_a_video_was_encoded(
    index_folder, place, tmp_path
):
    folder = tmp_path / 'bad'
    folder.mkdir()
    (folder / 'one.mp4').write_bytes(b'broken')
    report, _, store = index_folder([folder], place)
    assert (report.videos, report.encoded) == (0, 0)
    assert report.unreadable == {str(folder / 'one.mp4'): 'broken'}
    assert store.read_info() is None
    assert {path.name for path in tmp_path.iterdir()} <= {'bad'}


def test_an_index_without_videos_takes_the_next_model(
    videos, index_folder, place
):
    _, _, store = index_folder([videos], place)
    remove_files(store, list(store.list_files()))
    _, _, store = index_folder([videos], place, model='d' * 24, parts=1)
    assert store.read_info()['model'] == 'd' * 24
    assert open_store(place).count_files() == 3


def test_what_an_engine_forgets_to_remove_is_removed_again(
    videos, index_folder, tmp_path, monkeypatch
):
    *_, store = index_folder([videos], tmp_path / 'index')
    (videos / 'one.mp4').unlink()
    remove, asked = type(store).remove_files, []

    def forget_once(store, keys):
        asked.append(keys)
        if len(asked) > 1:
            remove(store, keys)

    monkeypatch.setattr(type(store), 'remove_files', forget_once)
    report, _, store = index_folder([videos], tmp_path / 'index')
    assert (report.videos, report.removed) == (2, 1)
    assert (store.count_files(), store.count_videos()) == (2, 2)


def test_features_of_files_that_are_not_listed_yet_stay(
    videos, index_folder, tmp_path, monkeypatch
):
    *_, store = index_folder([videos], tmp_path / 'index')
    (videos / 'new.mp4').write_bytes(b'new')
    listed = type(store).list_files
    monkeypatch.setattr(
        type(store), 'list_files', lambda store: listed(store)[:1]
    )
    index_folder([videos], tmp_path / 'index')
    assert store.count_videos() == 4


def test_features_that_an_engine_lost_are_made_again(
    videos, index_folder, place
):
    *_, store = index_folder([videos], place)
    (content,) = (
        entry.content
        for entry in store.list_files()
        if entry.path.endswith('one.mp4')
    )
    store.remove_videos([content])
    report, _, store = index_folder([videos], place)
    assert (report.encoded, report.unchanged) == (1, 2)
    assert store.list_contents() >= {content}


def test_features_that_an_engine_loses_meanwhile_are_made_again(
    videos, index_folder, place, monkeypatch
):
    index_folder([videos / 'nested'], place)
    store_type = type(open_store(place))
    put, lost = store_type.put_files, []

    def put_and_lose(store, entries):
        put(store, entries)
        if not lost:
            lost.extend(sorted(store.list_contents())[:2])
            store.remove_videos(lost)

    monkeypatch.setattr(store_type, 'put_files', put_and_lose)
    with pytest.warns(UserWarning, match='lost the features of 2 videos'):
        report, _, store = index_folder([videos], place)
    assert (report.videos, report.encoded, report.unchanged) == (3, 4, 1)
    assert store.list_contents() >= set(lost)
    assert store.count_videos() == 3


def test_an_engine_that_keeps_nothing_is_asked_so_often(
    videos, index_folder, tmp_path, monkeypatch
):
    store_type = type(open_store(tmp_path / 'index'))
    put = store_type.put_files

    def put_and_lose(store, entries):
        put(store, entries)
        store.remove_videos(sorted(store.list_contents())[:1])

    monkeypatch.setattr(store_type, 'put_files', put_and_lose)
    with pytest.warns(UserWarning, match='goes on losing'):
        report, *_ = index_folder([videos], tmp_path / 'index')
    assert report.encoded == 5


def test_copies_are_one_result_and_files_are_counted(
    videos, index_folder, place
):
    for number in range(3):
        copy = videos / f'copy{number}.mp4'
        copy.write_bytes((videos / 'one.mp4').read_bytes())
    _, _, store = index_folder([videos], place)
    assert (store.count_files(), store.count_videos()) == (6, 3)
    content = store.find_entry(FileEntry(str(copy), '').key).content
    pooled = store.read_videos([content]).pooled
    found, *others = search_by_vectors(place, pooled)[0]
    copies = [str(videos / f'copy{number}.mp4') for number in range(3)]
    assert [found.path, *found.copies] == [*copies, str(videos / 'one.mp4')]
    assert len(others) == 2
    # The file that is asked for leaves, its copies stay.
    named = without([found, *others], str(copies[0]))
    assert (named[0].path, len(named[0].copies)) == (copies[1], 2)


def test_a_moved_folder_takes_its_entries_along(
    videos, index_folder, place, tmp_path
):
    _, _, store = index_folder([videos], place)
    moved, query = tmp_path / 'moved', np.eye(16, dtype=np.float32)[:1]
    videos.rename(moved)
    (row,) = search_by_vectors(place, query)
    assert all(result.is_gone for result in row)
    report, encoded, store = index_folder([moved], place)
    assert encoded == []
    assert (report.videos, report.reused, report.removed) == (3, 3, 3)
    assert all(path.startswith(str(moved)) for path in paths(store))
    (row,) = search_by_vectors(place, query)
    assert not any(result.is_gone for result in row)


def test_several_lookups_at_once_find_what_each_finds(
    videos, index_folder, place
):
    *_, store = index_folder([videos], place)
    for entry in store.list_files():
        assert store.find_entry(entry.key) == entry
    assert store.find_entry('0' * 32) is None
    drawn = np.random.default_rng(0).standard_normal((3, 16), np.float32)
    queries = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    together = store.nearest_each(queries, 2)
    for query, some in zip(queries, together, strict=True):
        expected = store.nearest(query, 2)
        assert [content for content, _ in some] == [c for c, _ in expected]
        np.testing.assert_allclose(
            [cosine for _, cosine in some],
            [cosine for _, cosine in expected],
            atol=1e-4,
        )


def test_the_time_that_is_left_does_not_jump_with_batches(
    tmp_path, about, monkeypatch
):
    folder = tmp_path / 'videos'
    folder.mkdir()
    for number in range(24):
        (folder / f'{number}.mp4').write_bytes(b'%d' % number)
    left, lasted = [], []

    class Bar(tqdm):
        def __init__(self, *args, **options):
            options |= dict(disable=False)
            super().__init__(*args, file=io.StringIO(), **options)

        def display(self, *args, **options):
            state = self.format_dict
            lasted.append(state['elapsed'])
            if state['n']:
                rate = state['rate'] or state['n'] / state['elapsed']
                left.append((state['total'] - state['n']) / rate)

    class InBatches(ContentEncoder):
        batch_size = 8

        def encode_videos(self, videos, *args):
            each = super().encode_videos(videos, *args)
            for number, video in enumerate(each):
                if number % 8 == 0:
                    time.sleep(0.3)
                yield video

    monkeypatch.setattr('mmtvr.search.indexing.tqdm', Bar)
    indexer = Indexer(open_store(tmp_path / 'index'), InBatches(), about)
    indexer.run(find_videos([folder]))
    assert max(left) < 3 * max(lasted)
