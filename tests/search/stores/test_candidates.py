"""The first stage of a search by text, over parts of videos."""

from contextlib import ExitStack
from unittest.mock import Mock

import numpy as np
import pyarrow.compute as pc
import pytest

from mmtvr.search.stores import (
    base,
    lance,
    lance_parts,
    open_store,
    part_codes,
)
from mmtvr.search.stores.base import (
    VideoStore,
    compare_parts,
    merge_neighbours,
    pack_tokens,
    part_vectors,
    score_parts,
    unpack_tokens,
    window_content,
)
from tests.search.stores.conftest import (
    FRAMES,
    PARTS,
    WIDTH,
    fill,
    rank_slowly,
)


def test_candidates_are_those_most_like_the_sentence_and_the_words(
    drawn, queries, place
):
    store = fill(open_store(place), drawn)
    found = store.find_candidates(queries, 10)
    # All are neighbours of each vector, so that merging loses nothing.
    merged = VideoStore.find_candidates(store, queries, 10)
    # All parts are in memory there, and no frames are read.
    compared = PARTS if isinstance(store, lance.LanceStore) else FRAMES
    for query, best, other in zip(queries, found, merged, strict=True):
        assert best == rank_slowly(drawn, query, compared)[:10]
        assert other == rank_slowly(drawn, query, FRAMES)[:10]
    store.remove_videos(found[0][:3])
    store.refresh()
    assert store.find_candidates(queries[:1], 7) == [found[0][3:10]]


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
    compared = PARTS if isinstance(store, lance.LanceStore) else FRAMES
    chosen = videos.select(rows)
    for query, some, other in zip(queries, found, merged, strict=True):
        assert some == rank_slowly(chosen, query, compared)
        assert other == rank_slowly(chosen, query, FRAMES)
    assert store.find_candidates(queries, 9, set()) == [[], [], []]


def test_an_empty_index_has_no_candidates(queries, place):
    store = open_store(place)
    store.create(dict(width=WIDTH, precision='float16', parts=PARTS))
    assert store.find_candidates(queries, 10) == [[], [], []]


@pytest.fixture
def coded(drawn, tmp_path, monkeypatch):
    """An index with codes, of all videos but ten."""
    monkeypatch.setattr(lance, 'BYTES_WITHOUT_CODES', 0)
    monkeypatch.setattr(lance, 'BYTES_IN_MEMORY', 0)
    store = fill(open_store(tmp_path / 'index'), drawn.select(range(50)))
    store.compact()
    return store


def add_the_rest(store, drawn):
    store.add_videos(drawn.select(range(50, 60)))


def compact_as_before(store, drawn):
    """As a version does that knows no codes: rows lie elsewhere then."""
    store.remove_videos(drawn.contents[:15])
    table = store._table('videos')
    table.optimize(cleanup_older_than=lance.CLEANUP_AGE)
    store._record()


def test_a_large_index_is_compared_by_codes(
    drawn, queries, coded, monkeypatch
):
    monkeypatch.setattr(lance_parts, 'ROWS_PER_BLOCK', 11)
    find = spy_on(coded)
    for change in (
        lambda: None,
        lambda: add_the_rest(coded, drawn),
        coded.compact,
        lambda: coded.remove_videos(drawn.contents[:9]),
        coded.compact,
    ):
        change()
        coded.refresh()
        there = coded.list_contents()
        rows = [r for r, c in enumerate(drawn.contents) if c in there]
        within = {drawn.contents[row] for row in rows[5:30]}
        for query, all_of_them, some in zip(
            queries,
            coded.find_candidates(queries, 30),
            coded.find_candidates(queries, 30, within),
            strict=True,
        ):
            expected = rank_slowly(drawn.select(rows), query, FRAMES)
            assert all_of_them == expected[:30]
            assert some == [each for each in expected if each in within]
        assert coded.find_candidates(queries, 5, set()) == [[], [], []]
    assert not find.called


def spy_on(store):
    """See whether neighbours are merged, as in an index without codes."""
    store.nearest_each = Mock(wraps=store.nearest_each)
    return store.nearest_each


def drop_codes(store, drawn):
    """As a version did that knew no codes."""
    store._database.drop_table(lance.CODES)
    store._record()


@pytest.mark.parametrize('harm', [drop_codes, compact_as_before])
def test_without_codes_of_its_rows_neighbours_are_merged(
    drawn, queries, coded, harm
):
    harm(coded, drawn)
    store = open_store(coded.url)
    merge = spy_on(store)
    there = store.list_contents()
    videos = drawn.select(
        [row for row, each in enumerate(drawn.contents) if each in there]
    )
    expected = [rank_slowly(videos, q, FRAMES)[:10] for q in queries]
    for _ in range(2):
        assert store.find_candidates(queries, 10) == expected
        assert merge.call_count == 1
        store.compact()


def test_frames_of_the_first_are_compared_in_a_larger_index(
    drawn, queries, tmp_path, monkeypatch
):
    monkeypatch.setattr(lance_parts, 'PARTS_ALONE', 59)
    monkeypatch.setattr(lance_parts, 'FRAMES_BY_VECTORS', 20)
    store = fill(open_store(tmp_path / 'index'), drawn)
    for query, found in zip(
        queries, store.find_candidates(queries, 60), strict=True
    ):
        by_parts = rank_slowly(drawn, query, PARTS)
        by_frames = rank_slowly(drawn, query, FRAMES)
        first = [each for each in by_frames if each in by_parts[:20]]
        assert found == first + by_parts[20:]
        # Pages fit together.
        for count in (1, 19, 20, 21, 40):
            assert store.find_candidates([query], count) == [found[:count]]


def test_of_a_video_without_frames_the_whole_is_compared(
    drawn, queries, tmp_path, monkeypatch
):
    monkeypatch.setattr(lance_parts, 'PARTS_ALONE', 0)
    tokens = [
        each[:0] if number % 3 else each
        for number, each in enumerate(drawn.tokens)
    ]
    videos = drawn._replace(tokens=tokens)
    store = fill(open_store(tmp_path / 'index'), videos)
    for query in queries:
        (found,) = store.find_candidates([query], 60)
        assert found == rank_slowly(videos, query, FRAMES)


def test_codes_of_any_number_of_candidates_fit_together(
    drawn, queries, coded, monkeypatch
):
    monkeypatch.setattr(lance_parts, 'FRAMES_BY_CODES', 12)
    add_the_rest(coded, drawn)
    coded.refresh()
    for query in queries:
        (found,) = coded.find_candidates([query], 60)
        assert sorted(found) == sorted(drawn.contents)
        for count in (1, 22, 30, 50):
            assert coded.find_candidates([query], count) == [found[:count]]


@pytest.mark.parametrize('precision', ['float16', 'int8'])
def test_tokens_of_many_videos_are_compared_at_once(drawn, queries, precision):
    query = queries[0]
    packed = [pack_tokens(each, precision) for each in drawn.tokens]
    order, cosines, starts = lance_parts.multiply_tokens(
        packed, query.vectors, precision
    )
    assert sorted(order) == list(range(60))
    each = np.split(cosines, starts[1:])
    scores = score_parts(query, cosines, starts)
    for number, found, score in zip(order, each, scores, strict=True):
        alone = unpack_tokens(packed[number], WIDTH, precision)
        np.testing.assert_allclose(
            found, alone @ query.vectors.T, rtol=0, atol=1e-6
        )
        (expected,) = compare_parts(query, alone, np.zeros(1, int))
        assert score == pytest.approx(expected, abs=1e-6)


def test_searches_that_overlap_leave_blas_its_threads():
    blas = lance_parts.blas_controller().select(user_api='blas')

    def threads():
        return {each['num_threads'] for each in blas.info()}

    one, other = ExitStack(), ExitStack()
    with blas.limit(limits=2):
        one.enter_context(lance_parts.one_blas_thread)
        other.enter_context(lance_parts.one_blas_thread)
        one.close()
        assert threads() == {1}
        other.close()
        assert threads() == {2}


def test_without_codes_what_fits_is_compared_in_memory(
    drawn, queries, coded, monkeypatch
):
    drop_codes(coded, drawn)
    store = open_store(coded.url)
    monkeypatch.setattr(lance, 'BYTES_IN_MEMORY', 2**20)
    merge = spy_on(store)
    found = store.find_candidates(queries, 10)
    videos = drawn.select(range(50))
    assert found == [rank_slowly(videos, query)[:10] for query in queries]
    assert not merge.called


def test_codes_stay_until_there_should_be_more_centroids(
    drawn, coded, monkeypatch
):
    before, _ = coded._read_codes()
    add_the_rest(coded, drawn)
    coded.compact()
    after, _ = coded._read_codes()
    assert np.array_equal(after.centroids, before.centroids)
    kept = np.isin(after.contents, before.contents)
    assert np.array_equal(after.codes[kept], before.codes)
    # Where nothing has changed nothing is done.
    coded.compact()
    same, _ = coded._read_codes()
    assert np.array_equal(same.centroids, before.centroids)
    monkeypatch.setattr(part_codes, 'GROWTH', 0.5)
    coded.compact()
    again, _ = coded._read_codes()
    assert not np.array_equal(again.centroids[:4], before.centroids[:4])


def test_codes_choose_what_is_near_by_centroids_and_residuals(
    drawn, queries, coded, monkeypatch
):
    monkeypatch.setattr(part_codes, 'RESIDUALS', 20)
    coded._database.drop_table(lance.CODES)
    coded.compact()
    codes, _ = coded._read_codes()
    assert len(codes.centroids) < np.prod(codes.codes.shape)
    assert len(codes.residuals) == 20
    everything = np.arange(50)
    rough = codes.centroids[codes.codes].reshape(-1, WIDTH)
    parts = rough + codes.residuals[codes.residual_codes].reshape(-1, WIDTH)
    videos = drawn.select(np.argsort(drawn.contents[:50]))
    vectors = np.concatenate(
        [
            np.resize(part_vectors(pooled, tokens, PARTS), (PARTS, WIDTH))
            for _, pooled, tokens, _ in zip(*videos, strict=True)
        ]
    )
    assert ((vectors - parts) ** 2).sum() < ((vectors - rough) ** 2).sum() / 2
    for query in queries:
        # What is exact of these is exact here.
        scores = compare_parts(query, parts, PARTS * everything)
        best = np.sort(np.argsort(-scores)[:7])
        found = codes.find_near(query, 7, everything)
        np.testing.assert_allclose(
            np.sort(scores[found]), np.sort(scores[best]), atol=1e-6
        )
        few = codes.find_near(query, 12, everything[10:30])
        assert len(few) == 12
        assert set(few) <= set(range(10, 30))


def test_videos_are_read_where_the_first_stage_saw_them(drawn, queries, coded):
    window = window_content(drawn.contents[3], 0)
    videos = drawn._replace(contents=[*drawn.contents[:-1], window])
    coded.remove_videos(drawn.contents[5:8])
    coded.refresh()
    coded.find_candidates(queries, 10)
    # What follows it has not seen.
    coded.remove_videos(drawn.contents[10:12])
    coded.add_videos(videos.select([5, *range(55, 60)]))
    there = [*range(6), *range(8, 10), *range(12, 50), *range(55, 60)]
    wanted = [videos.contents[row] for row in reversed(range(60))]
    found = coded.read_videos([*wanted, wanted[0], 'e' * 32])
    assert set(found.contents) == {videos.contents[row] for row in there}
    expected = [each for each in wanted if each in found.contents]
    assert found.contents == [*expected, wanted[0]]
    for content, tokens in zip(found.contents, found.tokens, strict=True):
        own = videos.tokens[videos.contents.index(content)]
        np.testing.assert_allclose(tokens, own, atol=1e-3)


def test_codes_without_residuals_are_read_and_made_anew(drawn, queries, coded):
    table = coded._table(lance.CODES)
    rows = table.to_arrow()
    rows = rows.filter(pc.is_null(rows['residual']))
    rows = rows.drop_columns(['residual', 'residual_codes'])
    coded._database.create_table(lance.CODES, rows, mode='overwrite')
    coded._record()
    store = open_store(coded.url)
    merge = spy_on(store)
    found = store.find_candidates(queries, 10)
    videos = drawn.select(range(50))
    assert found == [rank_slowly(videos, q, FRAMES)[:10] for q in queries]
    assert not merge.called
    store.compact()
    assert store._read_codes()[0].residuals.any()


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


def test_the_first_of_what_was_merged_are_compared_by_frames(
    drawn, queries, tmp_path, monkeypatch
):
    store = fill(open_store(tmp_path / 'index'), drawn)
    monkeypatch.setattr(base, 'COMPARED', 0)
    merged = VideoStore.find_candidates(store, queries, 60)
    monkeypatch.setattr(base, 'COMPARED', 20)
    found = VideoStore.find_candidates(store, queries, 60)
    for query, before, after in zip(queries, merged, found, strict=True):
        by_frames = rank_slowly(drawn, query, FRAMES)
        first = [each for each in by_frames if each in before[:20]]
        assert after == first + before[20:]
        for count in (1, 20, 21, 40):
            few = VideoStore.find_candidates(store, [query], count)
            assert few == [after[:count]]
