"""The scripts of tools/analysis, on tiny input."""

import contextlib
import csv
import io
import json
import os
import runpy
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmtvr.apis.config_check import check_config
from mmtvr.registry import MODELS
from mmtvr.video.helper_process import end_helper

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / 'tools/analysis'


@pytest.fixture
def load_script(monkeypatch):
    """Names that a script of the folder defines, as if it had been run."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return lambda name: runpy.run_path(str(FOLDER / f'{name}.py'))


@pytest.fixture
def checkpoint(tiny_config, tmp_path):
    """Untrained weights of the tiny config."""
    init_default_scope('mmtvr')
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(tiny_config).model)
    path = tmp_path / 'model.pth'
    torch.save(dict(state_dict=model.state_dict()), path)
    return path


@pytest.fixture
def results(load_script, tmp_path):
    """Results of two rows with two seeds, written and read again."""
    report = load_script('ablation_report')
    path = tmp_path / 'runs.csv'
    first, second = list(load_script('ablation_rows')['ROWS'])[:2]
    for row, seed, recall in (
        (second, 0, 30.0),
        (first, 0, 10.0),
        (first, 1, 14.0),
        (second, 1, 30.0),
    ):
        metrics = dict.fromkeys(report['METRICS'], recall)
        report['append_result'](path, dict(row=row, seed=seed, **metrics))
    return report, report['read_results'](path), (first, second)


def test_every_row_of_the_ablation_is_a_config_that_fits(load_script):
    init_default_scope('mmtvr')
    for name, (path, changes) in load_script('ablation_rows')['ROWS'].items():
        config = Config.fromfile(ROOT / path)
        before = config.copy()
        config.merge_from_dict(changes)
        check_config(config)
        assert not changes or config._cfg_dict != before._cfg_dict, name


def test_ablation_gives_mean_and_deviation_over_seeds(results):
    report, runs, (first, second) = results
    table = list(report['summarise'](runs, 'R1'))
    assert [row[:3] for row in table] == [(first, 2, 12.0), (second, 2, 30.0)]
    assert table[0][3] == pytest.approx(8**0.5)


def test_ablation_is_written_as_table_and_picture(results, tmp_path):
    report, runs, (first, _) = results
    report['write_table'](tmp_path / 'results.md', runs)
    assert f'| {first} | 2 | 12.0 ± 2.8 |' in (
        (tmp_path / 'results.md').read_text(encoding='utf-8')
    )
    report['draw'](tmp_path / 'results.png', runs)
    assert (tmp_path / 'results.png').read_bytes().startswith(b'\x89PNG')


def test_a_run_that_is_done_is_not_trained_again(
    load_script, monkeypatch, tmp_path
):
    script = load_script('ablate')
    trained = []

    def train(run, folder, epochs, options, threads):
        trained.append(run)
        if len(trained) == 2:
            raise RuntimeError('broken')
        metrics = dict.fromkeys(script['METRICS'], 1.0)
        return dict(
            row=run[0], seed=run[1], epochs=epochs, seconds=1, **metrics
        )

    script['main'].__globals__['train'] = train
    rows = list(script['ROWS'])[:3]
    arguments = ['ablate.py', '--out', str(tmp_path), '--seeds', '0']
    monkeypatch.setattr(sys, 'argv', [*arguments, '--rows', *rows])
    assert script['main']() == 1
    assert script['main']() == 0
    assert trained == [*((row, 0) for row in rows), (rows[1], 0)]
    with (tmp_path / 'runs.csv').open(newline='') as file:
        assert [run['row'] for run in csv.DictReader(file)] == [
            *(rows[0], rows[2], rows[1])
        ]


def test_inspection_tells_what_is_removed(
    load_script, tiny_config, checkpoint, monkeypatch, capsys
):
    script = load_script('inspect_tpmcl')
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


def test_failures_are_written_as_one_page(
    load_script, tiny_config, checkpoint, monkeypatch, tmp_path
):
    page = tmp_path / 'out/failures.html'
    arguments = ['failures', tiny_config, checkpoint, '--out', page]
    arguments = [*map(str, arguments), '--count', '2']
    monkeypatch.setattr(sys, 'argv', arguments)
    load_script('failures')['main']()
    html = page.read_text(encoding='utf-8')
    # Two of the worst and two others, each with all five videos.
    assert html.count('<h2>') == 4
    assert html.count('<section') == 20
    assert html.count('the true video</strong>') == 4
    assert html.count('data:image/jpeg;base64,') == 20 * 3
    assert html.count('class="gone"') == 20
    assert 'hard negative of NegNCE' in html
    assert 'http' not in html.replace('<!doctype html>', '')


def test_captions_cannot_bring_markup_into_the_page(load_script, tmp_path):
    page = load_script('failures_page')
    picture = np.zeros((4, 4, 3), np.uint8)
    answer = page['Answer'](
        name='<i>.mp4',
        score=0.5,
        place=1,
        is_true=True,
        frames=[page['Frame'](picture, removed=False)],
        words=[page['Word']('<b>', 0.1, [0.2])],
    )
    failure = page['Failure']('<script>', 1.0, 1, False, [answer])
    page['write_page'](tmp_path / 'page.html', [failure], 'title')
    html = (tmp_path / 'page.html').read_text(encoding='utf-8')
    assert '&lt;script&gt;' in html
    for markup in ('<script>', '<i>', '<b>'):
        assert markup not in html


HOSTILE = (
    '"><script>alert(1)</script>',
    "' onmouseover='alert(1)",
    '</title></style><svg onload=alert(1)>',
    'javascript:alert(1)',
    '{{ 7 * 7 }}{% raw %}',
    'a#b?c&d=<!--',
)


def test_hostile_names_change_no_tag_of_the_page(load_script, tmp_path):
    script = load_script('failures_page')

    def tags(name):
        picture = np.zeros((4, 4, 3), np.uint8)
        answer = script['Answer'](
            name=name,
            score=0.5,
            place=1,
            is_true=True,
            frames=[script['Frame'](picture, removed=False)],
            words=[script['Word'](name, 0.1, [0.2])],
        )
        failure = script['Failure'](name, 1.0, 1, False, [answer])
        script['write_page'](tmp_path / 'page.html', [failure], name)
        html = (tmp_path / 'page.html').read_text(encoding='utf-8')
        found, text = [], []
        parser = HTMLParser()
        parser.handle_starttag = lambda tag, attrs: found.append((tag, attrs))
        parser.handle_data = text.append
        parser.feed(html)
        assert name in ''.join(text)
        return found

    plain = tags('a dog')
    for name in HOSTILE:
        assert tags(name) == plain, name


def test_all_pairs_form_of_tpmcl_equals_the_matched_one(load_script):
    script = load_script('benchmark_tpmcl')
    torch.manual_seed(0)
    draw = script['draw']
    text, video = draw(3, 5, 8, 'cpu', True), draw(3, 4, 8, 'cpu', True)
    loss = script['TPMCLLoss'](8, 5, 4)

    everything = script['all_pairs_loss'](loss, text, video)

    torch.testing.assert_close(everything, loss(text, video))


def test_tasks_are_timed_in_turn(load_script):
    script = load_script('measuring')
    calls = []
    tasks = {name: lambda name=name: calls.append(name) for name in 'ab'}

    seconds = script['time_in_turn'](tasks, repeats=2)

    assert {name: len(times) for name, times in seconds.items()} == {
        'a': 2,
        'b': 2,
    }
    assert ''.join(calls).endswith('abab')
    assert script['ratio']([2.0, 6.0, 3.0], [1.0, 2.0, 3.0]) == 2.0


def test_benchmarked_tasks_run(load_script, tmp_path):
    sizes = 4, 3, 2, 8
    load_script('benchmark_similarity')['prepare_products'](*sizes, 'cpu')()
    head = load_script('benchmark_similarity')['prepare_head']
    assert len(head(*sizes, 16, 'cpu')()) == 3
    step = load_script('benchmark_step')
    step['save_clip'](tmp_path, tiny=True)
    step['prepare']('float32', str(tmp_path), 2, 4, 2, 'cpu')()
    config = str(ROOT / 'configs/tpmcl_moving_shapes.py')
    large = load_script('benchmark_large_batch')['prepare']
    large(config, 4, 2, 5, 2, 54, True, 'cpu')()


@pytest.mark.parametrize(
    ('name', 'options'),
    [
        ('benchmark_startup', '--videos 3 --repeats 1 --workers 1'),
        ('plan_training', ''),
    ],
)
def test_tables_are_written(name, options, load_script, tmp_path, monkeypatch):
    out = tmp_path / 'table.json'
    script = load_script(name)
    monkeypatch.setattr(
        sys, 'argv', [name, '--out', str(out), *options.split()]
    )

    script['main']()

    table = json.loads(out.read_text(encoding='utf-8'))
    assert table['rows'][0]
    assert table['machine']['torch'] == torch.__version__


@pytest.mark.skipif(sys.platform != 'linux', reason='counts in /proc')
def test_many_samples_leave_no_handle_open(load_script, fork):
    script = load_script('soak_video')
    script['RARITY'].update(empty=5, cut=5, dies=10, hangs=30)

    def soak():
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            rows = script['main'](
                ['--samples', '60', '--every', '20', '--time-limit', '3']
            )
        held = os.memfd_create('mmtvr-frames')
        more = script['measure']()
        os.close(held)
        return rows, printed.getvalue().splitlines(), more

    # Other threads and garbage of this process open and close files too.
    rows, printed, more = fork(soak).finish().result
    first, *rest, last = rows
    assert last['samples'] == 60
    assert 15 <= last['unreadable'] < 40
    assert last['helpers'] > 3
    counts = ('worker_files', 'helper_files', 'shared_files', 'children')
    for row in (*rest, last):
        assert {n: row[n] for n in counts} == {n: first[n] for n in counts}
    assert first['children'] == 1
    assert more['shared_files'] == first['shared_files'] + 1
    assert more['worker_files'] == first['worker_files'] + 1
    table = printed[-1 - len(rows) :]
    assert table[0].split() == list(first)
    assert table[-1].split()[0] == '60'


def test_supervised_and_direct_reading_are_compared(load_script, tmp_path):
    script = load_script('benchmark_supervision')
    paths = load_script('soak_video')['make_good_videos'](tmp_path)
    (tmp_path / 'none.mp4').touch()
    found = script['readable']([*paths, str(tmp_path / 'none.mp4')], 'auto')
    assert found == paths
    rows = script['compare'](paths[:1], 'auto', 48, 2)
    assert rows[0]['file'] == 'a.mp4'
    assert rows[0]['helper_ms'] > 0


@pytest.mark.skipif(sys.platform != 'linux', reason='counts in /proc')
def test_ways_to_read_videos_are_compared(load_script, tmp_path, capsys):
    pytest.importorskip('decord')
    make = load_script('video_clips')['make_clips']
    (clip,) = make(tmp_path, seconds=1, sizes=[(120, 160)])
    out = tmp_path / 'table.json'
    options = '--num-frames 3 --size 32 --num-workers 1 --rounds 1 --samples 2'

    load_script('benchmark_video')['main'](
        [str(clip), '--out', str(out), *options.split()]
    )

    end_helper()
    rows = json.loads(out.read_text(encoding='utf-8'))['rows']
    assert [row['kind'] for row in rows] == [
        '160x120, original',
        '160x120, 3 fps',
        'mean',
    ]
    assert 'hand_over' in capsys.readouterr().out


def test_all_ways_give_frames_of_the_asked_size(load_script, tmp_path):
    pytest.importorskip('decord')
    make = load_script('video_clips')['make_clips']
    (clip,) = make(tmp_path, seconds=1, sizes=[(120, 160)])
    ways = load_script('video_ways')['make_ways'](3, 32)
    frames = {name: way(str(clip)) for name, way in ways.items()}
    end_helper()
    assert all(found.shape == (3, 3, 32, 32) for found in frames.values())
    middle = np.abs(frames['test'].astype(int) - frames['decord']).mean()
    assert middle < 8
    assert not frames['opencv'][1:].any()
