"""What a score means."""

from dataclasses import replace

import numpy as np
import pytest

from mmtvr.errors import SetupError
from mmtvr.search.calibration import (
    FACT,
    Calibration,
    add_probabilities,
    best_hits,
    calibrate,
    describe_probability,
    expected_calibration_error,
    find_calibration,
    fit_logistic,
    fits,
    reliability,
    write_calibration,
)
from mmtvr.search.query import SearchResult

CURVE = Calibration(10.0, -5.0, 100, 50, 0.02, 'c' * 24)


def hit(path, score, **changes):
    return SearchResult(path, score, 1, **changes)


def test_a_logistic_curve_is_found_again():
    rng = np.random.default_rng(0)
    scores = rng.uniform(0, 1, 20_000)
    right = rng.random(20_000) < 1 / (1 + np.exp(5 - 10 * scores))
    slope, intercept = fit_logistic(scores, right)
    assert slope == pytest.approx(10, rel=0.05)
    assert intercept == pytest.approx(-5, rel=0.05)


def test_separated_scores_have_a_finite_curve():
    scores = np.array([0.1, 0.2, 0.3, 0.7, 0.8])
    slope, intercept = fit_logistic(scores, scores > 0.5)
    assert 0 < slope < 1e3
    assert 0.3 < -intercept / slope < 0.7
    with pytest.raises(ValueError, match='right and wrong'):
        fit_logistic(scores, scores > 0)


def test_reliability_compares_bins_with_what_came_true():
    probabilities = np.array([0.1, 0.1, 0.9, 1.0])
    right = np.array([False, True, True, True])
    table = reliability(probabilities, right, bins=2)
    np.testing.assert_allclose(table, [(0.1, 0.5, 2), (0.95, 1.0, 2)])
    # (0.4 * 2 + 0.05 * 2) / 4
    error = expected_calibration_error(probabilities, right, bins=2)
    assert error == pytest.approx(0.225)


def test_the_cut_off_is_where_right_and_wrong_are_alike():
    assert CURVE.cut_off == pytest.approx(0.5)
    assert CURVE.probability(0.5) == pytest.approx(0.5)
    assert CURVE.probability(1e9) == 1
    assert CURVE.probability(-1e9) == 0
    assert Calibration.from_dict(CURVE.to_dict()) == CURVE


@pytest.mark.parametrize(
    'change', [dict(slope=-1.0), dict(slope=float('nan')), dict(more=1)]
)
def test_what_is_no_calibration_is_none(change):
    assert Calibration.from_dict({**CURVE.to_dict(), **change}) is None
    assert Calibration.from_dict(None) is None


def test_each_query_comes_with_and_without_its_video():
    results = [
        [hit('a', 0.9), hit('b', 0.4)],
        [hit('c', 0.8, copies=('b',)), hit('a', 0.7)],
        [hit('x', 0.6), hit('b', 0.5)],
    ]
    own = [frozenset({(name, None, None)}) for name in 'abb']
    scores, right, numbers = best_hits(results, own)
    assert scores.tolist() == [0.9, 0.4, 0.8, 0.7, 0.6, 0.6]
    assert right.tolist() == [True, False, True, False, False, False]
    assert numbers.tolist() == [0, 0, 1, 1, 2, 2]


def make_results(count, rng):
    """Right ones have 0.7, wrong ones 0.5, with a spread of 0.1."""
    results, own = [], []
    for number in range(count):
        score = rng.normal(0.7, 0.1)
        other = rng.normal(0.5, 0.1)
        hits = [hit(f'{number}', score), hit('other', other)]
        results.append(sorted(hits, key=lambda each: -each.score))
        own.append(frozenset({(f'{number}', None, None)}))
    return results, own


def test_probabilities_of_texts_that_were_left_out_come_true():
    results, own = make_results(2000, np.random.default_rng(0))
    found, table = calibrate(results, own, 50, 'c' * 24)
    assert (found.queries, found.videos) == (2000, 50)
    assert found.error < 0.03
    assert sum(count for *_, count in table) == 4000
    assert 0.5 < found.cut_off < 0.7
    few = slice(0, 12)
    with pytest.raises(SetupError, match=r'only \d+ best hits.*at least 10'):
        calibrate(results[few], own[few], 50)


def test_an_index_is_calibrated_by_itself_or_by_its_weights(tmp_path):
    weights = tmp_path / 'best.pth'
    info = dict(checkpoint='c' * 24)
    assert find_calibration(info, weights) is None
    write_calibration(CURVE, weights)
    assert find_calibration(info, weights) == CURVE
    assert find_calibration(dict(checkpoint='d' * 24), weights) is None
    other = replace(CURVE, slope=20.0)
    info[FACT] = other.to_dict()
    assert find_calibration(info, weights) == other
    (tmp_path / 'calibration.json').write_text('[')
    assert find_calibration(dict(checkpoint='c' * 24), weights) is None


def test_results_say_how_probable_they_are():
    results = [hit('a', 0.6), hit('b', 0.4)]
    assert fits(results)
    one, two = add_probabilities(results, CURVE)
    assert one.probability > 0.5 > two.probability
    assert fits([one, two])
    assert not fits([two])
    # The curve is of what is seen.
    said = replace(results[1], matched=('text',))
    assert add_probabilities([said], CURVE) == [said]
    assert fits([said])
    # The model knows no word of the query: only texts can fit.
    assert not fits(results, is_unknown=True)
    assert fits([*results, said], is_unknown=True)
    assert add_probabilities(results, CURVE, 0.5) == [one]
    assert add_probabilities(results, None, 0.5) == results[:1]
    assert describe_probability(0.81) == 'fits well'
    assert describe_probability(0.19) == 'does not fit'
