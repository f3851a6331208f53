"""Spans of a video that are most like a text."""

import numpy as np
import pytest
import torch

from mmtvr.search.moments import (
    FRAME_SHARE,
    MAX_IOU,
    OUTSIDE,
    Timeline,
    _score_spans,
    choose_shown,
    find_moments,
    lay_out,
)
from mmtvr.search.stores.base import StoredVideos
from mmtvr.structures import TokenFeatures

AXES = np.eye(4, dtype=np.float32)


def text_of(words, weights=None):
    tokens = torch.tensor(AXES[list(words)])[None]
    mask = torch.ones(1, len(words), dtype=torch.bool)
    weight = None if weights is None else torch.tensor([weights])
    pooled = tokens.sum(1)
    return TokenFeatures(tokens, mask, pooled / pooled.norm(), weight)


def video_of(*windows):
    """Windows as lists of (second, axis)."""
    times = [np.array([t for t, _ in each], np.float32) for each in windows]
    tokens = [AXES[[axis for _, axis in each]] for each in windows]
    pooled = np.stack([each.mean(0) for each in tokens])
    return StoredVideos(['c'] * len(windows), pooled, tokens, times)


def timeline_of(frames, scores=None):
    """Frames that show one axis each, a second apart, and words 0 and 1."""
    video = video_of([(second, axis) for second, axis in enumerate(frames)])
    found = lay_out(text_of([0, 1]), video, np.zeros(1))
    if scores is not None:
        found = found._replace(scores=np.array(scores, float))
    return found


def test_frames_of_windows_are_put_in_order():
    video = video_of([(1, 0), (3, 1)], [(3, 0), (6, 2)])
    text = text_of([0, 1], [3.0, 1.0])
    found = lay_out(text, video, np.array([0.25, 0.5]))
    # Second 3 stands once, with the mean of both windows.
    assert found.cosines.tolist() == [[1, 0.5, 0], [0, 0.5, 0]]
    assert found.weights.tolist() == [0.75, 0.25]
    assert found.scores.tolist() == [0.25, 0.5, 0.5]
    assert found.starts.tolist() == [0, 2, 4.5]
    assert found.ends.tolist() == [2, 4.5, 7.5]
    assert found.step == 2.5
    whole = lay_out(text, video, np.zeros(2), by_words=False)
    assert whole.cosines.shape == (1, 3)
    assert whole.weights.tolist() == [1]


def test_a_moment_goes_from_the_first_word_to_the_last():
    best = find_moments(timeline_of([3, 3, 3, 0, 0, 1, 3, 2]))[0]
    assert (best.start, best.end) == (2.5, 5.5)


def test_scores_equal_the_slow_ones():
    rng = np.random.default_rng(0)
    cosines = rng.uniform(-1, 1, (3, 13))
    weights = np.array([0.5, 0.3, 0.2])
    edges = np.arange(14.0)
    scores = rng.uniform(0, 1, 13)
    timeline = Timeline(cosines, weights, scores, edges[:-1], edges[1:])
    likeness = cosines.max(0)
    lengths = set()
    for start, end, score in _score_spans(timeline):
        first, after = int(start), int(end)
        lengths.add(after - first)
        inside = slice(first, after)
        beside = [
            likeness[place] if 0 <= place < 13 else likeness.min()
            for place in (first - 1, after)
        ]
        expected = (
            scores[inside].mean()
            + (1 - FRAME_SHARE) * weights @ cosines[:, inside].max(1)
            + FRAME_SHARE * likeness[inside].mean()
            - OUTSIDE * np.mean(beside)
        )
        assert score == pytest.approx(expected)
    assert lengths == {1, 2, 3, 4, 5, 6, 7, 8, 10, 12}


def test_no_two_moments_share_much():
    found = find_moments(timeline_of([3, 0, 1, 3, 0, 1, 3, 3, 2, 0]))
    assert [each.score for each in found] == sorted(
        (each.score for each in found), reverse=True
    )
    for number, one in enumerate(found):
        for other in found[:number]:
            both = min(one.end, other.end) - max(one.start, other.start)
            union = max(one.end, other.end) - min(one.start, other.start)
            assert max(both, 0) <= MAX_IOU * union + 1e-9
    assert len(find_moments(timeline_of([3, 0, 1, 3]), count=2)) == 2


def test_a_hit_shows_each_time_that_it_happens():
    shown = choose_shown(timeline_of([3, 3, 0, 1, 3, 3, 3, 0, 1, 3, 3]))
    assert sorted((each.start, each.end) for each in shown) == [
        (1.5, 3.5),
        (6.5, 8.5),
    ]
    (once,) = choose_shown(timeline_of([3, 3, 0, 1, 3, 2, 2, 3, 3, 2]))
    assert (once.start, once.end) == (1.5, 3.5)


def test_the_window_that_the_head_likes_better_comes_first():
    frames = [0, 1, 3, 3, 3, 0, 1]
    later = timeline_of(frames, [0, 0, 0, 0, 0.5, 0.5, 0.5])
    assert find_moments(later)[0].start > 4
    sooner = timeline_of(frames, [0.5, 0.5, 0.5, 0, 0, 0, 0])
    assert find_moments(sooner)[0].start == 0


def test_a_video_of_one_frame_is_one_moment():
    (found,) = choose_shown(timeline_of([0]))
    assert (found.start, found.end) == (0, 0)


def test_a_whole_text_has_spans_of_several_frames():
    # One vector of the text is most like one frame, whatever is beside it.
    rng = np.random.default_rng(0)
    cosines = rng.uniform(-0.1, 0.1, (1, 12))
    cosines[0, 4:8] = [0.4, 0.95, 0.5, 0.4]
    edges = np.arange(13.0)
    timeline = Timeline(
        cosines, np.ones(1), np.zeros(12), edges[:-1], edges[1:], False
    )
    best = find_moments(timeline)[0]
    assert (best.start, best.end) == (4, 8)
    best = find_moments(timeline._replace(by_words=True))[0]
    assert best.end - best.start == 1
