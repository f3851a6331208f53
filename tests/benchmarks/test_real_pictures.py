"""The comparison on real pictures: intervals, choices, the baseline, a run."""

import csv
from itertools import pairwise

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from benchmarks.real_pictures import compare
from benchmarks.real_pictures.baseline import Pairs, score_baseline
from benchmarks.real_pictures.report import (
    Ranks,
    ceiling,
    chance,
    format_difference,
    gather_ranks,
    interval,
    write_fine_grained,
    write_languages,
    write_tables,
)
from mmtvr.config import check_config
from mmtvr.evaluation.fine_grained import (
    FineGrainedSet,
    evaluate_fine_grained,
)


def evaluate_partial():
    """Of two videos, whose captions stand in front of shorter ones."""
    records = [
        dict(kind='tags', text=row, partial=row + 2, video=row)
        for row in (0, 1)
    ]
    captions = FineGrainedSet(list('abcd'), ['x', 'y'], records, [])
    # That of the second video scores as high in part as whole.
    scores = torch.tensor([[3.0, 0.0], [0.0, 2.0], [2.0, 0.0], [0.0, 2.0]])
    return evaluate_fine_grained(captions, scores)


def make_run(variant='a', fold=0, seed=0, ranks='1 2', trial=0, mrr=50.0):
    return dict(
        zip(
            ('set', 'variant', 'fold', 'seed', 'trial', 'MRR'),
            ('exercises', variant, str(fold), str(seed), str(trial), str(mrr)),
            strict=True,
        ),
        ranks=ranks,
        v2t_ranks=ranks,
    )


def test_items_of_all_folds_are_gathered_with_their_seeds():
    runs = [
        make_run(fold=0, seed=0, ranks='1 2'),
        make_run(fold=0, seed=1, ranks='3 4'),
        make_run(fold=1, seed=0, ranks='5'),
        make_run(fold=1, seed=1, ranks='6'),
    ]
    found = gather_ranks(runs, 'ranks')
    assert found.values.tolist() == [[1, 3], [2, 4], [5, 6]]
    assert found.folds.tolist() == [0, 0, 1]
    assert chance(found, 1) == pytest.approx(100 * (0.5 + 0.5 + 1) / 3)
    with pytest.raises(ValueError, match='fold 1 with seed 1'):
        gather_ranks(runs[:3], 'ranks')


def test_a_rank_that_ties_counts_in_part():
    ranks = Ranks(np.array([[1.0], [1.5], [2.0]]), np.zeros(3), np.full(3, 3))
    assert ranks.hits(1).flatten().tolist() == [100, 50, 0]


def test_interval_covers_items_and_seeds():
    folds = np.repeat([0, 1], 50)
    rng = np.random.default_rng(1)
    items = 100.0 * (rng.random((100, 1)) < 0.2)
    # Of seeds that agree, items are the only source: the binomial error.
    low, high = interval(np.repeat(items, 3, axis=1), folds)
    assert (high - low) / 4 == pytest.approx(4, abs=0.7)
    # Items that are alike leave the seeds.
    low, high = interval(np.tile([10.0, 20.0, 30.0], (100, 1)), folds)
    assert low < 17 < 23 < high
    assert interval(np.full((100, 3), 7.0), folds) == (7, 7)


def test_differences_are_paired_by_item():
    folds = np.zeros(40)
    sizes = np.full(40, 40)
    ranks = np.where(np.arange(40)[:, None] % 2, 1.0, 9.0)
    one, other = Ranks(ranks, folds, sizes), Ranks(ranks, folds, sizes)
    assert format_difference(one, other) == '+0.0 [+0.0, +0.0]'


def test_equal_captions_bound_what_can_be_reached():
    assert ceiling([['a', 'A', 'b', 'c']]) == 75.0
    # In another fold the same caption has no rival.
    assert ceiling([['a', 'b'], ['a', 'c']]) == 100.0


def test_the_trial_with_the_best_mean_over_the_tuning_folds_is_chosen():
    rows = [
        make_run(fold=0, trial=0, mrr=30.0),
        make_run(fold=0, trial=1, mrr=20.0),
        make_run(fold=1, trial=0, mrr=10.0),
        make_run(fold=1, trial=1, mrr=25.0),
    ]
    assert compare.choose_trials(rows) == {('exercises', 'a'): 1}


def test_seeds_that_lack_a_fold_are_left_out():
    runs = [make_run(fold=fold) for fold in compare.FOLDS]
    assert compare.whole_seeds([*runs, make_run(seed=1)]) == runs


def test_tables_have_intervals_and_chance():
    runs = [
        make_run(variant=variant, fold=fold, ranks='1 2 3 4')
        for variant in ('a', 'b')
        for fold in (0, 1)
    ]
    table = write_tables(runs, ['exercises'], dict(a='A', b='B'), 'a')
    assert '### exercises' in table
    assert '| B | 1 | 25.0 [' in table
    assert '| chance | | 25.0 | 100.0 |' in table
    table = write_languages(runs, dict(exercises='de'), dict(b='B', c='C'))
    assert table.count('\n') == 3
    assert '| B | 25.0 [' in table


def test_fine_grained_measures_are_averaged_over_videos_and_seeds():
    runs = [
        make_run(variant, fold) | dict(order_items=items, group_score_items='')
        for fold in (0, 1)
        for variant, items in (('word', '0 50 100'), ('more', '50 100 100'))
    ]
    table = write_fine_grained(
        runs,
        ['exercises', 'emoji'],
        dict(word='W', more='M'),
        dict(order='order', group_score='group'),
        'word',
    )
    assert '### emoji' not in table
    assert '| W | 1 | 50.0 [' in table
    more = next(line for line in table.splitlines() if line.startswith('| M'))
    assert '| 83.3 [' in more
    assert '| - | +0.0 [+0.0, +0.0] | +33.3 [' in more


def test_baseline_learns_words_that_name_what_is_seen():
    words = [f'colour{number % 8} word{number}' for number in range(256)]
    images = torch.eye(8)[torch.arange(256) % 8]
    pairs = Pairs(words, images)
    options = dict(width=16, lr=1e-2, epochs=20, drop=0.0, scale=20.0)
    new = Pairs([f'colour{number}' for number in range(8)], torch.eye(8))
    scores = score_baseline(pairs, new, options, seed=0)
    assert scores.argmax(1).tolist() == list(range(8))
    assert torch.equal(scores, score_baseline(pairs, new, options, seed=0))


@pytest.mark.parametrize('data', compare.SETS)
@pytest.mark.parametrize('variant', compare.VARIANTS)
def test_every_variant_is_a_config_that_fits(data, variant):
    init_default_scope('mmtvr')
    config = Config.fromfile(compare.recipe(data, variant))
    config.merge_from_dict(compare.VARIANTS[variant].options)
    check_config(config)


def test_runs_that_are_done_are_not_repeated(tmp_path, monkeypatch):
    folders = compare.Folders(tmp_path, tmp_path)
    trained = []

    def train(task, folders, split):
        trained.append(task)
        if len(trained) == 2:
            raise RuntimeError('broken')
        tables = {'short': np.eye(3), 'de': np.eye(3)}
        scored = compare.Scores(tables, evaluate_partial())
        return {'word': scored, 'word-evidence': scored}

    monkeypatch.setattr(compare, 'train', train)
    tasks = [compare.Task('exercises', 'word', fold, 0, 0) for fold in (0, 1)]
    path = tmp_path / 'test.csv'
    with pytest.raises(RuntimeError):
        compare.run_tasks(tasks, folders, path, 'test')
    compare.run_tasks(tasks, folders, path, 'test')
    assert [task.fold for task in trained] == [0, 1, 1]
    with path.open(newline='') as file:
        rows = list(csv.DictReader(file))
    assert [row['set'] for row in rows] == 4 * ['exercises', 'exercises-de']
    assert [row['variant'] for row in rows[::2]] == 2 * [
        'word',
        'word-evidence',
    ]
    assert float(rows[0]['order']) == 75.0
    assert rows[0]['order_items'] == '100 50'
    assert not rows[1]['order']
    assert rows[0]['ranks'] == '1 1 1'
    assert float(rows[0]['R1']) == float(rows[0]['MRR']) == 100.0


def test_rate_warms_up_and_ends_at_zero():
    rates = [compare.rate(step, 100) for step in range(101)]
    assert rates[0] < rates[5] < rates[10] == max(rates) == 1.0
    assert rates[100] == pytest.approx(0, abs=1e-12)
    assert all(a > b for a, b in pairwise(rates[10:]))
