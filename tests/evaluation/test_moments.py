"""Measures of moments, against hand-made values and a slow reference."""

import json
import math

import numpy as np
import pytest

from mmtvr.apis.evaluation import evaluate_moments as evaluate_files
from mmtvr.errors import SetupError
from mmtvr.evaluation.moments import (
    LENGTHS,
    PRECISION_IOUS,
    MomentQuery,
    average_precisions,
    evaluate_moments,
    read_predictions,
    read_queries,
    temporal_iou,
    to_text,
    write_predictions,
)


def ask(qid, *windows):
    return MomentQuery(qid, 'a', 'v', 150.0, np.array(windows, float))


def predict(*windows):
    return np.array(windows, float).reshape(-1, 3)


def slow_average_precision(predicted, right, threshold):
    """By the definition of VOC 2011, one step at a time."""
    taken, precisions, recalls = set(), [], []
    hits = 0
    ranked = sorted(predicted.tolist(), key=lambda each: -each[2])
    for rank, (start, end, _) in enumerate(ranked, 1):
        best, best_iou = None, -1.0
        for number, (low, high) in enumerate(right.tolist()):
            both = max(0.0, min(end, high) - max(start, low))
            iou = both / ((end - start) + (high - low) - both)
            if number not in taken and iou > best_iou:
                best, best_iou = number, iou
        if best is not None and best_iou >= threshold:
            taken.add(best)
            hits += 1
        precisions.append(hits / rank)
        recalls.append(hits / len(right))
    area, before = 0.0, 0.0
    for place, recall in enumerate(recalls):
        if recall > before:
            area += (recall - before) * max(precisions[place:])
            before = recall
    return area


def test_spans_meet_as_much_as_they_share():
    one = np.array([[0.0, 10.0], [5.0, 5.0]])
    other = np.array([[5.0, 10.0], [5.0, 15.0], [20.0, 30.0], [5.0, 5.0]])
    assert temporal_iou(one, other).tolist() == [[0.5, 1 / 3, 0, 0], [0] * 4]


def test_known_values_by_hand():
    queries = [
        # Half of it, then all of it.
        ask(1, (0, 10)),
        # Both, the wrong one between them.
        ask(2, (0, 20), (50, 100)),
        # Nothing.
        ask('three', (0, 40)),
    ]
    predictions = {
        1: predict((0, 5, 0.9), (0, 10, 0.8)),
        2: predict((50, 100, 0.9), (120, 130, 0.8), (0, 20, 0.7)),
        'three': predict(),
        4: predict((0, 1, 1)),
    }
    report = evaluate_moments(queries, predictions)
    assert (report.missing, report.unknown) == (1, 1)
    full = report.row()
    assert full.queries == 3
    assert full.recall == pytest.approx(
        {0.3: 200 / 3, 0.5: 200 / 3, 0.7: 100 / 3}
    )
    # Query 1: at 0.5 the first hit takes the moment; above, the second is
    # one at half precision. Query 2: precision 1 at recall 1/2, 2/3 at 1.
    second = (1 + 2 / 3) / 2
    assert full.precision[0.5] == pytest.approx(100 * (1 + second) / 3)
    assert full.precision[0.75] == pytest.approx(100 * (0.5 + second) / 3)
    mean = (1 + 9 * 0.5) / 10
    assert full.average == pytest.approx(100 * (mean + second) / 3)
    # A moment of ten seconds is short; that of 20 s alone is of middle
    # length, and there the best prediction is wrong.
    short, middle, long = map(report.row, ('short', 'middle', 'long'))
    assert (short.queries, middle.queries, long.queries) == (1, 1, 2)
    assert short.recall[0.5] == 100
    assert middle.recall[0.3] == 0
    assert middle.precision[0.5] == pytest.approx(100 / 3)
    assert long.recall[0.7] == 50


def test_average_precision_equals_the_slow_one():
    rng = np.random.default_rng(0)
    for _ in range(60):
        right = np.sort(rng.uniform(0, 60, (rng.integers(1, 4), 2)))
        spans = np.sort(rng.uniform(0, 60, (rng.integers(0, 8), 2)))
        # Some that are nearly right.
        spans = np.concatenate([spans, right + rng.normal(0, 1, right.shape)])
        spans = np.sort(spans)
        scores = rng.permutation(len(spans))[:, None]
        predicted = np.concatenate([spans, scores], axis=1)
        slow = [
            slow_average_precision(predicted, right, threshold)
            for threshold in PRECISION_IOUS
        ]
        assert average_precisions(predicted, right) == pytest.approx(slow)


def test_only_the_first_ten_predictions_count():
    wrong = [(100, 101, 20 - number) for number in range(10)]
    predictions = {1: predict(*wrong, (0, 10, 50))}
    report = evaluate_moments([ask(1, (0, 10))], predictions)
    assert report.row().average == 0


def test_the_first_in_the_file_is_the_one_of_recall():
    # As in QVHighlights: mAP sorts by score, R1 does not.
    predictions = {1: predict((50, 60, 0.1), (0, 10, 0.9))}
    row = evaluate_moments([ask(1, (0, 10))], predictions).row()
    assert (row.recall[0.5], row.average) == (0, 100)


def test_lengths_without_queries_are_not_zero():
    report = evaluate_moments([ask(1, (0, 5))], {1: predict((0, 5, 1))})
    assert math.isnan(report.row('long').average)
    lines = to_text(report).splitlines()
    assert len(lines) == 1 + len(LENGTHS)
    assert lines[-1].split() == ['long', '0', *'------']


def test_files_are_those_of_qvhighlights(tmp_path):
    truth = tmp_path / 'highlight_val.jsonl'
    record = dict(
        qid=2579,
        query='A girl cooks.',
        duration=150,
        vid='NUsG9BgSes0_210.0_360.0',
        relevant_clip_ids=[0, 1],
        saliency_scores=[[1, 2, 3], [1, 1, 1]],
        relevant_windows=[[0, 4]],
    )
    truth.write_text(json.dumps(record) + '\n\n')
    queries = read_queries(truth)
    assert queries[0].duration == 150
    path = tmp_path / 'predictions.jsonl'
    write_predictions(path, queries, {2579: [(0, 4.0, 0.5), (8, 9, 0.1)]})
    (line,) = path.read_text().splitlines()
    assert json.loads(line) == dict(
        qid=2579,
        query='A girl cooks.',
        vid='NUsG9BgSes0_210.0_360.0',
        pred_relevant_windows=[[0.0, 4.0, 0.5], [8.0, 9.0, 0.1]],
    )
    assert read_predictions(path)[2579].tolist()[1] == [8, 9, 0.1]
    report = evaluate_files(path, truth, out=tmp_path / 'out')
    assert report.row('short').average == 100
    written = json.loads((tmp_path / 'out/moments.json').read_text())
    assert written['rows'][0]['recall']['0.7'] == 100


@pytest.mark.parametrize(
    ('line', 'named'),
    [
        ('{"qid": 1', 'line 2: no JSON'),
        ('[1]', 'line 2'),
        ('{"pred_relevant_windows": []}', 'qid is None'),
        ('{"qid": 7, "pred_relevant_windows": []}', 'twice'),
        ('{"qid": 1, "pred_relevant_windows": [[0, 1]]}', 'pred_relevant'),
        ('{"qid": 1, "pred_relevant_windows": [[2, 1, 1]]}', '2, 1, 1'),
        ('{"qid": 1, "pred_relevant_windows": [[0, NaN, 1]]}', 'nan'),
    ],
)
def test_a_line_that_is_wrong_is_named(tmp_path, line, named):
    path = tmp_path / 'predictions.jsonl'
    path.write_text('{"qid": 7, "pred_relevant_windows": []}\n' + line)
    with pytest.raises(SetupError, match=named) as caught:
        read_predictions(path)
    assert str(path) in str(caught.value)


def test_queries_need_a_right_moment(tmp_path):
    path = tmp_path / 'queries.jsonl'
    record = dict(qid=1, query='a', vid='v', duration=9, relevant_windows=[])
    path.write_text(json.dumps(record))
    with pytest.raises(SetupError, match='relevant_windows is empty'):
        read_queries(path)
    path.write_text('\n')
    with pytest.raises(SetupError, match='no query'):
        read_queries(path)
    with pytest.raises(SetupError, match='cannot be read'):
        read_queries(tmp_path / 'missing.jsonl')
