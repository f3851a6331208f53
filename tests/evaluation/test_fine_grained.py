import json
import math

import numpy as np
import pytest
import torch

from mmtvr.errors import SetupError
from mmtvr.evaluation.fine_grained import (
    FineGrainedSet,
    check_fine_grained,
    cluster_interval,
    evaluate_fine_grained,
    metrics_of,
    read_fine_grained,
    to_text,
)

TWIN = dict(kind='colour', text=0, twin=1, video=0, twin_video=1)


def twins(scores, **changes):
    """Measures of one pair of twins."""
    captions = FineGrainedSet(['a', 'b'], ['0', '1'], [], [TWIN | changes])
    return metrics_of(evaluate_fine_grained(captions, torch.tensor(scores)))


@pytest.mark.parametrize(
    ('scores', 'expected'),
    [
        ([[0.9, 0.1], [0.2, 0.8]], (100, 100, 100, 100, 100)),
        # Each caption finds its video, video 0 takes the wrong caption.
        ([[0.4, 0.1], [0.5, 0.8]], (0, 100, 0, 50, 100)),
        # Video 1 wins with both captions.
        ([[0.4, 0.5], [0.2, 0.8]], (100, 0, 0, 100, 50)),
        ([[0.5, 0.5], [0.5, 0.5]], (0, 0, 0, 50, 50)),
        ([[0.1, 0.9], [0.8, 0.2]], (0, 0, 0, 0, 0)),
    ],
)
def test_twins_score_as_in_winoground(scores, expected):
    found = twins(scores)
    names = (
        *('text_score', 'video_score', 'group_score'),
        *('text_choice', 'video_choice'),
    )
    assert tuple(found[name] for name in names) == expected
    assert found['group_score/colour'] == expected[2]


def test_twins_without_a_video_ask_one_question():
    found = twins([[0.9, 0.1], [0.2, 0.8]], twin_video=None)
    assert found == {'text_choice': 100, 'text_choice/colour': 100}


def partial_set():
    """Captions 0 to 2 of videos 0 to 2, partial captions 3 and 4 of 0."""
    records = [
        dict(kind='shot', text=0, partial=3, video=0, true_of=[2]),
        dict(kind='actor', text=0, partial=4, video=0),
        dict(kind='shot', text=1, partial=4, video=1),
        dict(kind='shot', text=2, partial=3, video=2),
    ]
    return FineGrainedSet(list('abcde'), list('012'), records, [])


def test_partial_order_by_hand():
    scores = torch.tensor(
        [
            [0.9, 0.0, 0.0],
            [0.3, 0.9, 0.9],
            [0.6, 0.0, 0.9],
            [0.5, 0.4, 0.8],
            [0.9, 0.1, 0.95],
        ]
    )
    captions = partial_set()
    captions = captions._replace(
        partial=[
            *captions.partial[:2],
            dict(kind='shot', text=1, partial=4, video=1),
            dict(kind='shot', text=2, partial=4, video=2),
        ]
    )
    found = metrics_of(evaluate_fine_grained(captions, scores))
    # Of video 0: shot 0.9 > 0.5, actor 0.9 = 0.9; of 1: 0.9 > 0.1; of 2:
    # 0.9 < 0.95.
    full = [1, 0.5, 1, 0]
    # Captions of other videos: 0.3 and 0.6; then 0 and 0; 0 and 0.9.
    other = [0.5, 1, 1, 1]
    order = [0.5, 0.5, 1, 0]
    # The first is known to be true of video 2, so only 1 is wrong.
    video = [1, 0.5, 0, 1]
    for name, values in (
        ('full_over_partial', full),
        ('partial_over_other', other),
        ('order', order),
        ('partial_over_video', video),
    ):
        assert found[name] == pytest.approx(25 * sum(values)), name
        assert found[f'{name}/actor'] == pytest.approx(100 * values[1])


def test_random_scores_are_at_chance():
    torch.manual_seed(0)
    count = 200
    partial = [
        dict(kind='x', text=i, partial=count + i, video=i)
        for i in range(count)
    ]
    pairs = [
        dict(kind='x', text=i, twin=i + 1, video=i, twin_video=i + 1)
        for i in range(0, count, 2)
    ]
    captions = FineGrainedSet(
        [str(i) for i in range(2 * count)],
        [str(i) for i in range(count)],
        partial,
        pairs,
    )
    report = evaluate_fine_grained(captions, torch.randn(2 * count, count))
    chance = dict(order=100 / 6, text_score=25, group_score=100 / 6)
    for row in report.rows:
        if row.measure in chance:
            assert row.low < chance[row.measure] < row.high
        assert row.low <= row.value <= row.high


def test_columns_are_found_by_video_id_and_absent_ones_left_out():
    captions = partial_set()
    torch.manual_seed(0)
    scores = torch.randn(5, 3)
    whole = evaluate_fine_grained(captions, scores)
    order = torch.tensor([2, 0, 1])
    moved = evaluate_fine_grained(captions, scores[:, order], order)
    assert moved == whole
    some = evaluate_fine_grained(captions, scores[:, :2], torch.tensor([0, 1]))
    assert some.left_out == 1
    assert 'left out' in to_text(some)


def test_the_only_video_has_no_other():
    captions = FineGrainedSet(
        ['a', 'b'], ['0'], [dict(kind='x', text=0, partial=1, video=0)], []
    )
    found = metrics_of(
        evaluate_fine_grained(captions, torch.tensor([[0.5], [0.4]]))
    )
    assert found == {'full_over_partial': 100, 'full_over_partial/x': 100}


def test_bad_scores_are_refused():
    captions = partial_set()
    with pytest.raises(ValueError, match=r'\(5, 3\).*\(4, 3\)'):
        evaluate_fine_grained(captions, torch.zeros(4, 3))
    scores = torch.zeros(5, 3)
    scores[0, 1] = math.nan
    with pytest.raises(ValueError, match='row 0, column 1'):
        evaluate_fine_grained(captions, scores)


def test_interval_resamples_whole_videos():
    values = np.array([0.0, 0.0, 100.0, 100.0])
    low, high = cluster_interval(values, np.array([0, 0, 1, 1]))
    assert (low, high) == (0, 100)
    assert cluster_interval(values, np.zeros(4)) == (50, 50)
    rng = np.random.default_rng(0)
    many = rng.normal(50, 10, 900)
    alone = cluster_interval(many, np.arange(900))
    error = 1.96 * 10 / 30
    np.testing.assert_allclose(alone, (50 - error, 50 + error), atol=0.7)
    # Nine equal values of a video are one.
    same = many[:100].repeat(9)
    wide = cluster_interval(same, np.arange(100).repeat(9))
    assert wide[1] - wide[0] > 2 * (alone[1] - alone[0])


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(texts=[1]), 'lists of strings'),
        (dict(twins=[dict(TWIN, twin=7)]), 'twin=7'),
        (dict(twins=[dict(TWIN, twin_video=True)]), 'twin_video=True'),
        (dict(partial=[dict(kind='x', text=0, video=0)]), 'partial=None'),
        (dict(partial=[[]]), 'record 0 of "partial"'),
    ],
)
def test_broken_sets_are_named(tmp_path, changes, message):
    content = dict(texts=['a', 'b'], videos=['0', '1'], twins=[TWIN])
    assert check_fine_grained(content, 'x').partial == []
    path = tmp_path / 'set.json'
    path.write_text(json.dumps(content | changes))
    with pytest.raises(SetupError, match=message):
        read_fine_grained(path)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(SetupError, match=r'none\.json'):
        read_fine_grained(tmp_path / 'none.json')
