"""A real server of Milvus, which is killed and started again."""

import threading
import time
from contextlib import suppress

import numpy as np
import pytest

from mmtvr.errors import SetupError
from mmtvr.search import indexing
from mmtvr.search.query import search_by_vectors
from mmtvr.search.stores import coded_store, open_store
from tests.search.conftest import check_codes, check_switch, draw

pytestmark = pytest.mark.slow
pytest.importorskip('pymilvus')


def paths(store):
    return sorted(entry.path for entry in store.list_files())


def test_files_are_indexed_found_and_forgotten(
    milvus_server, videos, index_folder
):
    place = f'{milvus_server.url}/living'
    report, _, store = index_folder([videos], place)
    assert (report.videos, report.encoded) == (3, 3)
    # What was just written is found, also by another client.
    reader = open_store(place)
    contents = sorted(reader.list_contents())
    pooled = reader.read_videos(contents).pooled
    expected = [draw(content).pooled for content in contents]
    np.testing.assert_allclose(pooled, expected, atol=1e-3)
    assert reader.nearest(pooled[1], 1)[0][0] == contents[1]
    (videos / 'one.mp4').rename(videos / 'nested/other.mp4')
    (videos / 'two.AVI').unlink()
    report, encoded, store = index_folder([videos], place)
    assert encoded == []
    assert (report.videos, report.reused, report.removed) == (2, 1, 2)
    assert (reader.count_videos(), reader.count_files()) == (2, 2)
    found = [each.path for each in search_by_vectors(place, pooled[:1])[0]]
    assert sorted(found) == paths(store) == paths(reader)


def test_a_killed_server_has_what_it_acknowledged(
    milvus_server, tmp_path, index_folder, monkeypatch
):
    folder = tmp_path / 'videos'
    folder.mkdir()
    place = f'{milvus_server.url}/killed'
    monkeypatch.setattr(indexing, 'VIDEOS_PER_COMMIT', 4)
    monkeypatch.setattr(coded_store, 'CODED_FROM', 5)
    acknowledged, reached = [], threading.Event()
    store_type = type(open_store(place))
    put = store_type.put_files

    def put_and_note(store, entries):
        put(store, entries)
        acknowledged.extend(entries)
        if len(acknowledged) >= 12:
            reached.set()

    monkeypatch.setattr(store_type, 'put_files', put_and_note)
    for number in range(40):
        if number == 10:
            # Of these there are codes when the others come.
            index_folder([folder], place)
        (folder / f'{number}.mp4').write_bytes(b'%d' % number)

    def kill():
        assert reached.wait(120)
        milvus_server.kill()
        milvus_server.start()

    killer = threading.Thread(target=kill)
    killer.start()
    # Either is right: it was waited for, or the user is told.
    with suppress(SetupError):
        index_folder([folder], place)
    killer.join()
    kept = {entry.path for entry in open_until(place).list_files()}
    assert {entry.path for entry in acknowledged} <= kept
    report, _, store = index_folder([folder], place)
    assert (report.videos, store.count_videos()) == (40, 40)
    videos = store.read_videos(sorted(store.list_contents()))
    for content, pooled in zip(videos.contents, videos.pooled, strict=True):
        np.testing.assert_allclose(pooled, draw(content).pooled, atol=1e-3)
    assert store.nearest(videos.pooled[7], 1)[0][0] == videos.contents[7]
    check_codes(place, videos)


def test_a_new_model_takes_over_while_the_old_one_answers(
    milvus_server, videos, index_folder, about
):
    check_switch(milvus_server.url, videos, index_folder, about)


def open_until(place, seconds=120):
    """Open an index as soon as its server has loaded it."""
    end = time.monotonic() + seconds
    while True:
        store = open_store(place)
        try:
            store.require_info()
        except SetupError:
            if time.monotonic() > end:
                raise
            time.sleep(0.5)
        else:
            return store
