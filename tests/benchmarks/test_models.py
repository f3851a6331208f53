"""The benchmarks of models, on tiny input."""

import json
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import (
    benchmark_large_batch,
    benchmark_similarity,
    benchmark_startup,
    benchmark_step,
    benchmark_tpmcl,
    plan_training,
)
from benchmarks.ablation import inspect_tpmcl
from benchmarks.measuring import ratio, time_in_turn

ROOT = Path(__file__).resolve().parents[2]


def test_inspection_tells_what_is_removed(
    tiny_config, checkpoint, monkeypatch, capsys
):
    monkeypatch.setattr(
        sys, 'argv', ['inspect', str(tiny_config), str(checkpoint)]
    )
    inspect_tpmcl.main()
    printed = capsys.readouterr().out
    assert '5 pairs' in printed
    # Untrained importance is nearly even: more than half of three frames'
    # mass lies on two, of which one stays below 0.6.
    assert 'frames: 33.3% removed' in printed
    for name in ('frames', 'word_global_frames', 'words', 'frame_global'):
        assert f'{name}: full - partial' in printed


def test_all_pairs_form_of_tpmcl_equals_the_matched_one():
    torch.manual_seed(0)
    draw = benchmark_similarity.draw
    text, video = draw(3, 5, 8, 'cpu', True), draw(3, 4, 8, 'cpu', True)
    loss = benchmark_tpmcl.TPMCLLoss(8, 5, 4)

    everything = benchmark_tpmcl.all_pairs_loss(loss, text, video)

    torch.testing.assert_close(everything, loss(text, video))


def test_tasks_are_timed_in_turn():
    calls = []
    tasks = {name: lambda name=name: calls.append(name) for name in 'ab'}

    seconds = time_in_turn(tasks, repeats=2)

    assert {name: len(times) for name, times in seconds.items()} == {
        'a': 2,
        'b': 2,
    }
    assert ''.join(calls).endswith('abab')
    assert ratio([2.0, 6.0, 3.0], [1.0, 2.0, 3.0]) == 2.0


def test_benchmarked_tasks_run(tmp_path):
    sizes = 4, 3, 2, 8
    benchmark_similarity.prepare_products(*sizes, 'cpu')()
    head = benchmark_similarity.prepare_head
    assert len(head(*sizes, 16, 'cpu')()) == 3
    benchmark_step.save_clip(tmp_path, tiny=True)
    benchmark_step.prepare('float32', str(tmp_path), 2, 4, 2, 'cpu')()
    config = str(ROOT / 'configs/tpmcl_moving_shapes.py')
    large = benchmark_large_batch.prepare
    large(config, 4, 2, 5, 2, 54, True, 1, 'cpu')()


@pytest.mark.parametrize(
    ('script', 'options'),
    [
        (benchmark_startup, '--videos 3 --repeats 1 --workers 1'),
        (plan_training, ''),
    ],
)
def test_tables_are_written(script, options, tmp_path, monkeypatch):
    out = tmp_path / 'table.json'
    monkeypatch.setattr(
        sys, 'argv', ['script', '--out', str(out), *options.split()]
    )

    script.main()

    table = json.loads(out.read_text(encoding='utf-8'))
    assert table['rows'][0]
    assert table['machine']['torch'] == torch.__version__
