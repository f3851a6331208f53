"""The first stage of a server: by codes that it keeps, in this process."""

import numpy as np
import pytest

from mmtvr.search.stores import coded_store, milvus, open_store, part_codes
from mmtvr.search.stores.base import part_vectors, window_content
from tests.search.stores.conftest import FRAMES, PARTS, fill, rank_slowly

pymilvus = pytest.importorskip('pymilvus')

pytestmark = pytest.mark.parametrize(
    'place',
    ['milvus', pytest.param('postgres', marks=pytest.mark.slow)],
    indirect=True,
)


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """Codes of few videos already, which fill several blobs."""
    monkeypatch.setattr(coded_store, 'CODED_FROM', 20)
    monkeypatch.setattr(coded_store, 'VIDEOS_PER_BLOB', 16)
    monkeypatch.setattr(coded_store, 'READ_AT_ONCE', 7)
    monkeypatch.setattr(coded_store, 'SECONDS_BETWEEN_LOOKS', -1.0)
    # A centroid takes more than one row there.
    monkeypatch.setattr(milvus, 'PIECE', 600)


@pytest.fixture
def coded(drawn, place):
    """An index with codes, of all videos but ten."""
    store = fill(open_store(place), drawn.select(range(50)))
    store.compact()
    return store


def refuse_merging(store, monkeypatch):
    """No neighbours are asked for, as in an index without codes."""

    def refuse(*_):
        raise AssertionError

    monkeypatch.setattr(store, 'nearest_each', refuse)
    return store


def by_frames(videos, queries):
    return [rank_slowly(videos, query, FRAMES) for query in queries]


def check_codes(store, place, videos):
    """The codes are those of each video, also as another process reads them.

    Each part has the nearest centroid, and the residual nearest to what that
    leaves of it; a video with fewer parts repeats its last one.
    """
    for reader in (store, open_store(place)):
        codes = reader._look().codes
        names = codes.contents.astype(str).tolist()
        assert names == sorted(videos.contents)
        for content, pooled, tokens, _ in zip(*videos, strict=True):
            parts = list(part_vectors(pooled, tokens, PARTS))
            parts += [parts[-1]] * (PARTS - len(parts))
            for number, part in enumerate(parts):
                code = codes.codes[names.index(content), number]
                distances = np.linalg.norm(codes.centroids - part, axis=1)
                assert distances[code] == pytest.approx(distances.min())
                rest = part - codes.centroids[code]
                code = codes.residual_codes[names.index(content), number]
                distances = np.linalg.norm(codes.residuals - rest, axis=1)
                assert distances[code] == pytest.approx(distances.min())


def test_all_videos_are_compared_by_codes_then_by_frames(
    drawn, queries, coded, place, monkeypatch
):
    videos = drawn.select(range(50))
    for store in (coded, open_store(place)):
        refuse_merging(store, monkeypatch)
        assert store.find_candidates(queries, 60) == by_frames(videos, queries)
    monkeypatch.setattr(coded_store, 'FRAMES', 0)
    by_codes = store.find_candidates(queries, 60)
    monkeypatch.setattr(coded_store, 'FRAMES', 12)
    for query, before in zip(queries, by_codes, strict=True):
        ranked = rank_slowly(videos, query, FRAMES)
        first = [each for each in ranked if each in before[:12]]
        for count in (1, 12, 13, 50):
            (found,) = store.find_candidates([query], count)
            assert found == (first + before[12:])[:count]
    monkeypatch.setattr(coded_store, 'MANY', 49)
    assert store.find_candidates(queries, 60) == by_frames(videos, queries)


def test_codes_are_those_of_each_video(drawn, coded, place, monkeypatch):
    check_codes(coded, place, drawn.select(range(50)))
    # By the centroids that are there.
    coded.add_videos(drawn.select(range(50, 60)))
    check_codes(coded, place, drawn)
    coded.remove_videos(drawn.contents[:9])
    coded.compact()
    check_codes(coded, place, drawn.select(range(9, 60)))
    # Written again, by new centroids.
    monkeypatch.setattr(part_codes, 'GROWTH', 0.5)
    coded.compact()
    check_codes(coded, place, drawn.select(range(9, 60)))


def test_what_was_removed_hides_nothing(drawn, queries, place, monkeypatch):
    monkeypatch.setattr(coded_store, 'FRAMES', 8)
    # Thirty videos of which all are nearer to the text than the others.
    words = queries[0].words
    near = drawn.select(range(30))._replace(
        tokens=[words] * 30, pooled=np.repeat(words[:1], 30, axis=0)
    )
    near = near._replace(times=[np.zeros(len(words), np.float32)] * 30)
    far = drawn.select(range(30, 60))
    store = fill(open_store(place), near)
    store.add_videos(far)
    store.compact()
    assert set(store.find_candidates(queries[:1], 30)[0]) == set(near.contents)
    store.remove_videos(near.contents)
    expected = by_frames(far, queries[:1])[0]
    for _ in range(2):
        for reader in (store, open_store(place)):
            (found,) = reader.find_candidates(queries[:1], 5)
            assert found == expected[:5]
        store.compact()
    assert len(store._look().codes.contents) == 30


def test_among_some_videos_and_their_windows(
    drawn, queries, place, monkeypatch
):
    windows = [window_content(drawn.contents[0], 0), 'f' * 32]
    videos = drawn._replace(contents=[*drawn.contents[:58], *windows])
    store = fill(open_store(place), videos)
    store.compact()
    refuse_merging(store, monkeypatch)
    within = {*drawn.contents[:20], 'e' * 32}
    chosen = videos.select([*range(20), 58])
    found = store.find_candidates(queries, 30, within)
    assert found == by_frames(chosen, queries)
    assert store.find_candidates(queries, 30, set()) == [[]] * len(queries)


def test_what_is_added_or_removed_later_is_seen_by_all(
    drawn, queries, coded, place, monkeypatch
):
    reader = refuse_merging(open_store(place), monkeypatch)
    reader.find_candidates(queries, 5)
    blobs = coded.list_blobs()
    coded.add_videos(drawn.select(range(50, 60)))
    assert len(coded.list_blobs() - blobs) == 1
    expected = by_frames(drawn, queries)
    for store in (coded, reader):
        assert store.find_candidates(queries, 60) == expected
    coded.remove_videos(expected[0][:3])
    left = [ranked for ranked in expected[0] if ranked not in expected[0][:3]]
    for store in (coded, reader):
        assert store.find_candidates(queries[:1], 60) == [left]
    # Also in place of what was removed.
    row = drawn.contents.index(expected[0][0])
    coded.add_videos(drawn.select([row]))
    assert reader.find_candidates(queries[:1], 1) == [expected[0][:1]]


def test_what_has_no_codes_is_found_all_the_same(
    drawn, queries, coded, place, monkeypatch
):
    # As an older mmtvr leaves it.
    coded.write_videos(drawn.select(range(50, 60)))
    blobs = coded.list_blobs()
    reader = refuse_merging(open_store(place), monkeypatch)
    assert reader.find_candidates(queries, 60) == by_frames(drawn, queries)
    assert coded.list_blobs() == blobs
    coded.compact()
    assert coded.list_blobs() > blobs
    counted = []
    monkeypatch.setattr(reader, 'list_contents', lambda: counted.append(1))
    assert reader.find_candidates(queries, 60) == by_frames(drawn, queries)
    assert counted == []


def test_a_generation_counts_when_it_is_whole(
    drawn, queries, coded, place, monkeypatch
):
    reader = refuse_merging(open_store(place), monkeypatch)
    before = coded.list_blobs()
    put = type(coded).put_blob

    def die(store, name, data):
        if '-' not in name:
            raise KeyboardInterrupt
        put(store, name, data)

    with monkeypatch.context() as patch:
        patch.setattr(part_codes, 'GROWTH', 0.5)
        patch.setattr(type(coded), 'put_blob', die)
        with pytest.raises(KeyboardInterrupt):
            coded.compact()
        assert coded.list_blobs() > before
        expected = by_frames(drawn.select(range(50)), queries)
        for store in (coded, reader):
            assert store.find_candidates(queries, 60) == expected
        patch.setattr(type(coded), 'put_blob', put)
        coded.compact()
    after = coded.list_blobs()
    assert after.isdisjoint(before)
    assert len([each for each in after if '-' not in each]) == 1
    # 50 videos, 16 in each.
    assert len(after) == 5
    for store in (coded, reader):
        assert store.find_candidates(queries, 60) == expected


def test_codes_are_made_from_some_size_to_another(
    drawn, queries, place, monkeypatch
):
    store = fill(open_store(place), drawn.select(range(19)))
    store.compact()
    assert store.list_blobs() == set()
    store.add_videos(drawn.select(range(19, 60)))
    assert store.list_blobs() == set()
    assert store.find_candidates(queries, 60) == by_frames(drawn, queries)
    store.compact()
    assert len(store.list_blobs()) == 5
    monkeypatch.setattr(coded_store, 'CODED_TO', 59)
    store.compact()
    assert store.list_blobs() == set()
    monkeypatch.setattr(coded_store, 'CODED_TO', 60)
    store.compact()
    store.remove_videos(drawn.contents[15:])
    store.compact()
    assert store.list_blobs() == set()
    expected = by_frames(drawn.select(range(15)), queries)
    assert store.find_candidates(queries, 60) == expected


def test_many_small_or_empty_blobs_become_few(
    drawn, coded, place, monkeypatch
):
    monkeypatch.setattr(coded_store, 'MAX_BLOBS', 3)
    for row in range(50, 60):
        coded.add_videos(drawn.select([row]))
    generation = min(coded.list_blobs())
    assert len(coded.list_blobs()) == 15
    coded.compact()
    assert len(coded.list_blobs()) == 5
    new = min(coded.list_blobs())
    assert new > generation
    assert coded.read_blobs([generation]) == {}
    # As a process leaves it that is killed before it removes what is old.
    coded.put_blob(f'{generation}-old', b'old')
    gone = coded.read_blobs([max(coded.list_blobs())])
    (names, *_) = map(coded_store._unpack, gone.values())
    coded.remove_videos(names[0].astype(str).tolist())
    before = coded.list_blobs()
    coded.compact()
    assert before - coded.list_blobs() == {f'{generation}-old', *gone}
    check_codes(coded, place, drawn.select(find_left(coded, drawn)))


def find_left(store, videos):
    there = store.list_contents()
    return [row for row, each in enumerate(videos.contents) if each in there]


def test_codes_of_another_model_count_for_nothing(
    drawn, queries, coded, place
):
    # As an older mmtvr makes an index anew, which leaves them.
    coded.write_info({**coded.read_info(), 'model': 'another'})
    store = open_store(place)
    videos = drawn.select(range(50))
    assert store.find_candidates(queries, 60) == by_frames(videos, queries)
    assert store._look().codes is None
    store.add_videos(drawn.select(range(50, 60)))
    before = store.list_blobs()
    store.compact()
    assert store.list_blobs().isdisjoint(before)
    check_codes(store, place, drawn)


def test_a_new_index_has_no_codes_of_the_old_one(drawn, queries, coded, place):
    reader = open_store(place)
    reader.find_candidates(queries, 5)
    coded.remove_videos(drawn.contents)
    fill(coded, drawn.select(range(10)))
    expected = by_frames(drawn.select(range(10)), queries)
    for store in (coded, reader):
        assert store.list_blobs() == set()
        assert store.find_candidates(queries, 60) == expected


def test_a_process_killed_while_it_made_the_place_of_codes_hinders_nobody(
    drawn, queries, place, monkeypatch
):
    store = fill(open_store(place), drawn)
    if not isinstance(store, milvus.MilvusStore):
        pytest.skip('made in one transaction')

    def die(*_, **__):
        raise KeyboardInterrupt

    load = pymilvus.MilvusClient.load_collection

    def load_indexed(client, name, **options):
        # Milvus Lite loads what a server does not.
        assert client.list_indexes(name, field_name='vector')
        load(client, name, **options)

    with monkeypatch.context() as patch:
        patch.setattr(pymilvus.MilvusClient, 'create_index', die)
        with pytest.raises(KeyboardInterrupt):
            store.compact()
    monkeypatch.setattr(pymilvus.MilvusClient, 'load_collection', load_indexed)
    store = open_store(place)
    expected = by_frames(drawn, queries)
    for _ in range(2):
        assert store.find_candidates(queries, 60) == expected
        store.compact()
    check_codes(store, place, drawn)


def test_blobs_are_there_as_a_whole(coded):
    data = bytes(range(256)) * 9
    coded.put_blob('00000009.a-b', data)
    found = coded.read_blobs(['00000009.a-b', '00000009.a-c'])
    assert found == {'00000009.a-b': data}
    if isinstance(coded, milvus.MilvusStore):
        # A server that was killed may lose a part.
        coded._client.delete(
            coded._collection('codes'), ids=['00000009.a-b/2']
        )
        assert coded.read_blobs(['00000009.a-b']) == {}
    coded.remove_blobs(['00000009.a-b'])
    assert '00000009.a-b' not in coded.list_blobs()
