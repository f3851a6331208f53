import numpy as np

from benchmarks.ablation.twins import find_twins, score_twins

TEXTS = [
    'a red bar rising',
    'a blue ring resting',
    'a red bar falling',
    'a blue cross resting',
]


def test_captions_that_differ_in_one_word_are_found_by_kind():
    assert list(find_twins(TEXTS, 2)) == [('motion', 0, 2), ('shape', 1, 3)]
    assert (
        list(find_twins(['a red bar rising', 'a blue ring rising'], 1)) == []
    )


def test_shares_are_those_counted_by_hand():
    scores = np.array([[0.9, 0.8], [0.5, 0.4], [0.9, 0.8], [0.6, 0.7]])
    results = score_twins(scores, TEXTS)
    # The words of motion make no difference: one video wins for both.
    assert results['motion'] == (1, 50.0, 0.0, 0.0)
    # 0.5 > 0.4 and 0.7 > 0.6; of captions, 0.5 < 0.6 and 0.7 > 0.4.
    assert results['shape'] == (1, 100.0, 50.0, 0.0)
    assert 'colour' not in results
