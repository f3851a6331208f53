"""The scripts of benchmarks that look at models, on tiny input."""

import json
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]


def test_inspection_tells_what_is_removed(
    load_benchmark, tiny_config, checkpoint, monkeypatch, capsys
):
    script = load_benchmark('ablation.inspect_tpmcl')
    monkeypatch.setattr(
        sys, 'argv', ['inspect', str(tiny_config), str(checkpoint)]
    )
    script['main']()
    printed = capsys.readouterr().out
    assert '5 pairs' in printed
    # Untrained importance is nearly even: more than half of three frames'
    # mass lies on two, of which one stays below 0.6.
    assert 'frames: 33.3% removed' in printed
    for name in ('frames', 'word_global_frames', 'words', 'frame_global'):
        assert f'{name}: full - partial' in printed


def test_all_pairs_form_of_tpmcl_equals_the_matched_one(load_benchmark):
    script = load_benchmark('benchmark_tpmcl')
    torch.manual_seed(0)
    draw = script['draw']
    text, video = draw(3, 5, 8, 'cpu', True), draw(3, 4, 8, 'cpu', True)
    loss = script['TPMCLLoss'](8, 5, 4)

    everything = script['all_pairs_loss'](loss, text, video)

    torch.testing.assert_close(everything, loss(text, video))


def test_tasks_are_timed_in_turn(load_benchmark):
    script = load_benchmark('measuring')
    calls = []
    tasks = {name: lambda name=name: calls.append(name) for name in 'ab'}

    seconds = script['time_in_turn'](tasks, repeats=2)

    assert {name: len(times) for name, times in seconds.items()} == {
        'a': 2,
        'b': 2,
    }
    assert ''.join(calls).endswith('abab')
    assert script['ratio']([2.0, 6.0, 3.0], [1.0, 2.0, 3.0]) == 2.0


def test_benchmarked_tasks_run(load_benchmark, tmp_path):
    sizes = 4, 3, 2, 8
    load_benchmark('benchmark_similarity')['prepare_products'](*sizes, 'cpu')()
    head = load_benchmark('benchmark_similarity')['prepare_head']
    assert len(head(*sizes, 16, 'cpu')()) == 3
    step = load_benchmark('benchmark_step')
    step['save_clip'](tmp_path, tiny=True)
    step['prepare']('float32', str(tmp_path), 2, 4, 2, 'cpu')()
    config = str(ROOT / 'configs/tpmcl_moving_shapes.py')
    large = load_benchmark('benchmark_large_batch')['prepare']
    large(config, 4, 2, 5, 2, 54, True, 1, 'cpu')()


@pytest.mark.parametrize(
    ('name', 'options'),
    [
        ('benchmark_startup', '--videos 3 --repeats 1 --workers 1'),
        ('plan_training', ''),
    ],
)
def test_tables_are_written(
    name, options, load_benchmark, tmp_path, monkeypatch
):
    out = tmp_path / 'table.json'
    script = load_benchmark(name)
    monkeypatch.setattr(
        sys, 'argv', [name, '--out', str(out), *options.split()]
    )

    script['main']()

    table = json.loads(out.read_text(encoding='utf-8'))
    assert table['rows'][0]
    assert table['machine']['torch'] == torch.__version__
