"""The first stage of a search by text, over parts of videos."""

import numpy as np
import pytest

from mmtvr.search.stores import base, lance, open_store
from mmtvr.search.stores.base import (
    QueryVectors,
    StoredVideos,
    VideoStore,
    merge_neighbours,
    part_vectors,
    window_content,
)

WIDTH, PARTS = 16, 2


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


@pytest.fixture
def drawn():
    """Sixty videos of one to three frames."""
    rng = np.random.default_rng(0)
    tokens = [
        unit(rng.standard_normal((frames, WIDTH), np.float32))
        for frames in rng.integers(1, 4, 60)
    ]
    pooled = unit(np.stack([each.mean(0) for each in tokens]))
    times = [np.arange(len(each), dtype=np.float32) for each in tokens]
    contents = [f'{number:032x}' for number in rng.permutation(60)]
    return StoredVideos(contents, pooled, tokens, times)


@pytest.fixture
def queries():
    rng = np.random.default_rng(1)
    found = []
    for count, share in ((5, 0.5), (0, 0.5), (9, 0.0)):
        words = unit(rng.standard_normal((count + 1, WIDTH), np.float32))
        weights = rng.random(count, np.float32)
        weights /= max(weights.sum(), 1)
        found.append(QueryVectors(words[0], words[1:], weights, share))
    return found


def rank_slowly(videos, query):
    scores = {}
    for content, pooled, tokens, _ in zip(*videos, strict=True):
        parts = part_vectors(pooled, tokens, PARTS)
        levels = []
        if query.share or not len(query.words):
            levels.append(([query.sentence], [1.0]))
        if len(query.words):
            levels.append((query.words, query.weights))
        scores[content] = np.mean(
            [
                sum(
                    weight * max(part @ word for part in parts)
                    for word, weight in zip(*level, strict=True)
                )
                + np.mean([max(w @ part for w in level[0]) for part in parts])
                for level in levels
            ]
        )
    return sorted(scores, key=scores.get, reverse=True)


def fill(store, videos):
    store.create(dict(width=WIDTH, precision='float16', parts=PARTS))
    half = len(videos.contents) // 2
    store.add_videos(videos.select(range(half)))
    store.add_videos(videos.select(range(half, len(videos.contents))))
    return store


def test_candidates_are_those_most_like_the_sentence_and_the_words(
    drawn, queries, place
):
    store = fill(open_store(place), drawn)
    found = store.find_candidates(queries, 10)
    # All are neighbours of each vector, so that merging loses nothing.
    merged = VideoStore.find_candidates(store, queries, 10)
    for query, best, other in zip(queries, found, merged, strict=True):
        expected = rank_slowly(drawn, query)[:10]
        assert best == expected
        assert other == expected
    store.remove_videos(found[0][:3])
    store.refresh()
    assert store.find_candidates(queries[:1], 3) == [found[0][3:6]]


def test_candidates_may_be_of_some_videos_and_their_windows(
    drawn, queries, place
):
    windows = [window_content(drawn.contents[0], 0), 'f' * 32]
    videos = drawn._replace(contents=[*drawn.contents[:58], *windows])
    store = fill(open_store(place), videos)
    within = {*drawn.contents[:20], 'e' * 32}
    rows = [*range(20), 58]
    found = store.find_candidates(queries, 30, within)
    merged = VideoStore.find_candidates(store, queries, 30, within)
    for query, some, other in zip(queries, found, merged, strict=True):
        expected = rank_slowly(videos.select(rows), query)
        assert some == expected
        assert other == expected
    assert store.find_candidates(queries, 9, set()) == [[], [], []]


def test_an_empty_index_has_no_candidates(queries, place):
    store = open_store(place)
    store.create(dict(width=WIDTH, precision='float16', parts=PARTS))
    assert store.find_candidates(queries, 10) == [[], [], []]


def test_candidates_of_a_vector_index_are_merged(
    drawn, queries, tmp_path, monkeypatch
):
    monkeypatch.setattr(lance, 'ROWS_FOR_VECTORS', 80)
    monkeypatch.setattr(lance, 'BYTES_IN_MEMORY', 0)
    store = fill(open_store(tmp_path / 'index'), drawn)
    store.compact()
    assert store._table('videos').list_indices()
    found = store.find_candidates(queries, 30)
    for query, some in zip(queries, found, strict=True):
        # Its codes have one bit for each of 16 dimensions.
        assert len(set(some) & set(rank_slowly(drawn, query)[:30])) >= 20
        assert len(some) == 30


def test_what_is_no_neighbour_counts_as_the_last_one():
    near = [[('a', 0.9), ('b', 0.5)], [('b', 0.8), ('c', 0.7)]]
    # a: 0.9 + 0.7, b: 0.5 + 0.8, c: 0.5 + 0.7
    assert merge_neighbours(near, [0.5, 0.5], 3) == ['a', 'b', 'c']
    # a: 0.9 + 2.1, b: 0.5 + 2.4, c: 0.5 + 2.1
    assert merge_neighbours(near, [1, 3], 2) == ['a', 'b']
    assert merge_neighbours([[], []], [1, 1], 2) == []


def test_more_candidates_than_neighbours_can_be_asked_for(
    drawn, queries, tmp_path, monkeypatch
):
    monkeypatch.setattr(base, 'NEIGHBOURS', 3)
    store = fill(open_store(tmp_path / 'index'), drawn)
    (best, *_) = VideoStore.find_candidates(store, queries, 60)
    assert len(best) == 60


def test_few_candidates_are_compared_part_by_part(
    drawn, queries, tmp_path, monkeypatch
):
    store = fill(open_store(tmp_path / 'index'), drawn)
    read = []
    monkeypatch.setattr(
        store,
        'read_videos',
        lambda c: read.append(c) or drawn.select(range(9)),
    )
    monkeypatch.setattr(base, 'COMPARED', 5)
    VideoStore.find_candidates(store, queries[:1], 5)
    assert read == []
    (few,) = VideoStore.find_candidates(store, queries[:1], 4)
    assert len(read[0]) == 5
    assert few == rank_slowly(drawn.select(range(9)), queries[0])[:4]
