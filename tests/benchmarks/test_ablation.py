"""The driver of the ablation: plans, tuning, resuming, comparisons."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope

from benchmarks.ablation import ablate
from benchmarks.ablation.ablate import Plan, Run
from mmtvr.config import check_config

ROOT = Path(__file__).resolve().parents[2]
PLANS = sorted((ROOT / 'benchmarks/ablation/plans').glob('*.json'))
METRICS = ['retrieval/R1', 'fine_grained/order']


@pytest.fixture
def write_plan(tmp_path):
    """Write a plan of two variants; returns it."""

    def write(**changes):
        trials = [{'lr': 1}, {'lr': 2}]
        content = dict(
            epochs=1,
            seeds=[0, 1],
            metrics=METRICS,
            datasets={'shapes': dict(options={'root': 'fold{fold}'})},
            variants={
                name: dict(config='{dataset}.py', trials=trials)
                for name in ('ours', 'base')
            },
            tuning=dict(seed=9, metric='retrieval/R1'),
            comparisons=[['ours', 'base']],
        )
        path = tmp_path / 'plan.json'
        path.write_text(json.dumps(content | changes))
        return Plan.read(path)

    return write


def result(plan, run, recall, split='val'):
    found = dict.fromkeys(METRICS, recall)
    return ablate.describe(plan, run, split, found, 1)


@pytest.mark.parametrize('path', PLANS, ids=lambda path: path.stem)
def test_every_variant_of_a_shipped_plan_is_a_config_that_fits(path):
    init_default_scope('mmtvr')
    plan = Plan.read(path)
    for run in plan.tuning_runs():
        if run.trial:
            continue
        config = Config.fromfile(ROOT / plan.config(run))
        before = config.copy()
        config.merge_from_dict(plan.options(run, 'test'))
        check_config(config)
        assert config._cfg_dict != before._cfg_dict
        assert config.train_cfg.max_epochs == plan.content['epochs']


def test_shipped_plans_do_not_validate_on_the_test_split():
    plan = Plan.read(ROOT / 'benchmarks/ablation/plans/claims.json')
    for run in plan.tuning_runs():
        options = plan.options(run, 'val')
        assert options['val_dataloader.dataset.split'] == 'val'
        assert not any('test_dataloader.dataset.split' in o for o in options)


def test_unequal_tuning_and_unknown_comparisons_are_refused(write_plan):
    variants = dict(
        ours=dict(config='x.py', trials=[{}, {}]), base=dict(config='x.py')
    )
    with pytest.raises(ValueError, match="'base': 1"):
        write_plan(variants=variants)
    with pytest.raises(ValueError, match='nothing'):
        write_plan(comparisons=[['ours', 'nothing']])


def test_folds_and_trials_enter_the_options(write_plan):
    plan = write_plan()
    options = plan.options(Run('shapes', 'ours', 1, 0, 3), 'val')
    assert options['root'] == 'fold3'
    assert options['lr'] == 2
    assert options['train_cfg.max_epochs'] == 1


def test_the_best_trial_by_validation_is_run(write_plan, tmp_path):
    plan, path = write_plan(), tmp_path / 'runs.csv'
    for run in plan.tuning_runs():
        best = {'ours': 1, 'base': 0}[run.variant]
        recall = 30.0 if run.trial == best else 20.0
        ablate.append_result(path, result(plan, run, recall))
    selected = ablate.select_trials(plan, ablate.read_results(path))
    assert selected == {'shapes/ours': 1, 'shapes/base': 0}
    assert {(r.variant, r.trial) for r in plan.runs(selected)} == {
        ('ours', 1),
        ('base', 0),
    }


def test_a_ranking_of_the_weights_of_another_variant_is_not_trained(
    write_plan, tmp_path, monkeypatch
):
    both = dict(config='{dataset}.py', trials=[{}, {'lr': 2}])
    ranked = both | dict(weights='base', options={'power': 1})
    compared = [['ranked', 'base']]
    plan = write_plan(
        variants=dict(base=both, ranked=ranked), comparisons=compared
    )
    assert {run.variant for run in plan.tuning_runs()} == {'base'}
    run = next(
        r for r in plan.runs({'shapes/base': 1}) if r.variant == 'ranked'
    )
    assert run.trial == 1
    base = ablate.folder_of(tmp_path, run._replace(variant='base'))
    base.mkdir(parents=True)
    (base / 'last_checkpoint').write_text('epoch_1.pth')
    called = []

    def run_script(script, options, log, threads):
        called.append((script, options))
        folder = ablate.folder_of(tmp_path, run) / 'test/today'
        folder.mkdir(parents=True)
        (folder / 'today.json').write_text(
            json.dumps(dict.fromkeys(METRICS, 1))
        )

    monkeypatch.setattr(ablate, 'run_script', run_script)
    found = ablate.test(plan, run, tmp_path, 1)
    assert found['variant'] == 'ranked'
    ((script, options),) = called
    assert script[2] == 'epoch_1.pth'
    assert options['power'] == 1
    with pytest.raises(ValueError, match="'nothing', which is no variant"):
        write_plan(
            variants=dict(base=both, ranked=both | dict(weights='nothing'))
        )


def test_differences_are_paired_by_seed(write_plan, tmp_path):
    plan, path = write_plan(), tmp_path / 'runs.csv'
    for seed, ours, base in ((1, 32.0, 20.0), (0, 21.0, 10.0), (2, 9.0, None)):
        for name, recall in (('ours', ours), ('base', base)):
            if recall is not None:
                run = Run('shapes', name, 0, seed, 0)
                ablate.append_result(path, result(plan, run, recall))
    results = ablate.read_results(path)
    pairs = ablate.pairs_of(results, 'shapes', 'ours', 'base', METRICS[0])
    assert pairs == [(21, 10), (32, 20)]
    gap, low, high = ablate.mean_difference(pairs)
    assert (gap, low, high) == (11.5, 11, 12)
    ablate.write_report(tmp_path / 'out.md', plan, results, 'val')
    text = (tmp_path / 'out.md').read_text()
    assert '| ours | base | 2 | +11.5 [+11.0, +12.0] |' in text
    assert '| base | 2 | 15.0 ± 7.1 |' in text
    ablate.draw(tmp_path / 'out.png', plan, results, 'shapes')
    assert (tmp_path / 'out.png').read_bytes().startswith(b'\x89PNG')


def test_interval_of_differences_is_that_of_their_mean():
    gaps = np.random.default_rng(1).normal(2, 1, 400)
    _, low, high = ablate.mean_difference([(gap, 0) for gap in gaps])
    error = 1.96 * gaps.std() / 20
    assert (low, high) == pytest.approx(
        (gaps.mean() - error, gaps.mean() + error), abs=0.02
    )
    assert ablate.mean_difference([(3, 1)])[1:] == (-np.inf, np.inf)


@pytest.fixture
def drive(write_plan, tmp_path, monkeypatch):
    """Run stages of the driver with stand-ins for training and test."""
    done = []

    def work(split):
        def one(plan, run, out, threads):
            done.append((split, run))
            if len(done) == 2:
                raise RuntimeError('broken')
            return result(plan, run, 10.0 + run.trial, split)

        return one

    monkeypatch.setattr(ablate, 'train', work('val'))
    monkeypatch.setattr(ablate, 'test', work('test'))
    plan = write_plan()

    def stage(name):
        arguments = [str(plan.path), name, '--out', str(tmp_path / 'out')]
        monkeypatch.setattr(sys, 'argv', ['ablate.py', *arguments])
        return ablate.main()

    return stage, done, plan, tmp_path / 'out'


def test_a_stopped_driver_goes_on_and_tests_once(drive, capsys):
    stage, done, plan, out = drive
    assert stage('run') == 1
    assert 'tune first' in capsys.readouterr().err
    assert stage('tune') == 1
    assert stage('tune') == 0
    assert len(done) == 5
    assert stage('run') == 0
    assert {run.trial for split, run in done[5:]} == {1}
    assert stage('run') == 0
    assert len(done) == 9
    assert stage('test') == 1
    assert 'committed' in capsys.readouterr().err
    git = ['git', '-C', str(plan.path.parent)]
    author = ['-c', 'user.name=a', '-c', 'user.email=a@b.c']
    subprocess.run([*git, 'init', '-q'], check=True)
    subprocess.run([*git, 'add', 'plan.json'], check=True)
    subprocess.run([*git, *author, 'commit', '-qm', 'plan'], check=True)
    assert stage('test') == 0
    assert stage('test') == 0
    assert [split for split, _ in done[9:]] == ['test'] * 4
    with (out / 'runs.csv').open(newline='') as file:
        assert len(list(csv.DictReader(file))) == 4 + 4 + 4
    assert (out / 'results_test.md').is_file()
    plan.path.write_text(plan.path.read_text() + '\n')
    assert stage('test') == 1
