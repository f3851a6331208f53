"""The ablation study: its rows, runs and tables."""

import csv
import sys
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope

from benchmarks.ablation import ablate
from mmtvr.config import check_config

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def results(tmp_path):
    """Results of two rows with two seeds, written and read again."""
    path = tmp_path / 'runs.csv'
    first, second = list(ablate.ROWS)[:2]
    for row, seed, recall in (
        (second, 0, 30.0),
        (first, 0, 10.0),
        (first, 1, 14.0),
        (second, 1, 30.0),
    ):
        metrics = dict.fromkeys(ablate.METRICS, recall)
        ablate.append_result(path, dict(row=row, seed=seed, **metrics))
    return ablate.read_results(path), (first, second)


def test_every_row_of_the_ablation_is_a_config_that_fits():
    init_default_scope('mmtvr')
    for name, (path, changes) in ablate.ROWS.items():
        config = Config.fromfile(ROOT / path)
        before = config.copy()
        config.merge_from_dict(changes)
        check_config(config)
        assert not changes or config._cfg_dict != before._cfg_dict, name


def test_ablation_gives_mean_and_deviation_over_seeds(results):
    runs, (first, second) = results
    table = list(ablate.summarise(runs, 'R1'))
    assert [row[:3] for row in table] == [(first, 2, 12.0), (second, 2, 30.0)]
    assert table[0][3] == pytest.approx(8**0.5)


def test_ablation_is_written_as_table_and_plot(results, tmp_path):
    runs, (first, _) = results
    ablate.write_table(tmp_path / 'results.md', runs)
    assert f'| {first} | 2 | 12.0 ± 2.8 |' in (
        (tmp_path / 'results.md').read_text(encoding='utf-8')
    )
    ablate.draw(tmp_path / 'results.png', runs)
    assert (tmp_path / 'results.png').read_bytes().startswith(b'\x89PNG')


def test_a_run_that_is_done_is_not_trained_again(monkeypatch, tmp_path):
    trained = []

    def train(run, folder, epochs, options, threads):
        trained.append(run)
        if len(trained) == 2:
            raise RuntimeError('broken')
        metrics = dict.fromkeys(ablate.METRICS, 1.0)
        return dict(
            row=run[0], seed=run[1], epochs=epochs, seconds=1, **metrics
        )

    monkeypatch.setattr(ablate, 'train', train)
    rows = list(ablate.ROWS)[:3]
    arguments = ['ablate.py', '--out', str(tmp_path), '--seeds', '0']
    monkeypatch.setattr(sys, 'argv', [*arguments, '--rows', *rows])
    assert ablate.main() == 1
    assert ablate.main() == 0
    assert trained == [*((row, 0) for row in rows), (rows[1], 0)]
    with (tmp_path / 'runs.csv').open(newline='') as file:
        assert [run['row'] for run in csv.DictReader(file)] == [
            *(rows[0], rows[2], rows[1])
        ]
