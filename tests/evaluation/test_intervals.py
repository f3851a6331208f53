import numpy as np
import pytest
import torch

from mmtvr.evaluation.ranking import bootstrap_interval


def test_interval_of_a_recall_is_that_of_the_binomial():
    hits = torch.zeros(1000)
    hits[:450] = 100
    low, high = bootstrap_interval(hits)
    spread = 100 * (0.45 * 0.55 / 1000) ** 0.5
    assert low == pytest.approx(45 - 1.96 * spread, abs=0.5)
    assert high == pytest.approx(45 + 1.96 * spread, abs=0.5)


def test_interval_covers_the_truth_about_as_often_as_it_says():
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(100):
        hits = generator.random(200) < 0.3
        low, high = bootstrap_interval(torch.from_numpy(hits))
        covered += low <= 0.3 <= high
    assert 87 <= covered <= 100


def test_same_values_give_the_same_interval():
    values = torch.rand(50)
    assert bootstrap_interval(values) == bootstrap_interval(values.clone())


def test_median_has_an_interval_of_its_own():
    ranks = torch.tensor([1.0] * 60 + [100.0] * 40)
    assert bootstrap_interval(ranks, 'median')[0] == 1
    assert bootstrap_interval(ranks)[0] > 20


@pytest.mark.parametrize('values', [[3.0], [2.0, 2.0, 2.0]])
def test_values_without_spread_have_no_width(values):
    assert bootstrap_interval(torch.tensor(values)) == (values[0], values[0])


def test_unknown_statistic_is_refused():
    with pytest.raises(ValueError, match='mode'):
        bootstrap_interval(torch.rand(3), 'mode')
