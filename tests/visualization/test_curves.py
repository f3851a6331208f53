"""The curves of runs that were resumed, broken off or started over."""

import json

import pytest

from mmtvr.cli.curves import main
from mmtvr.errors import SetupError
from mmtvr.visualization.curves import choose_panels, read_run


def write_log(folder, start, *records, name='scalars.json'):
    path = folder / start / 'vis_data' / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('\n'.join(map(json.dumps, records)) + '\n')
    return path


def step(iteration, epoch=1, **values):
    return dict(iter=iteration, step=iteration, epoch=epoch, **values)


def test_validations_come_behind_their_iteration(tmp_path):
    validation = {'retrieval/R1': 30.0, 'step': 1}
    write_log(tmp_path, '1', step(10, loss=2.0), step(20, loss=1), validation)
    run = read_run(tmp_path, 'run')
    assert run.series['loss'] == [(10, 2.0), (20, 1)]
    assert run.series['retrieval/R1'] == [(20, 30.0)]
    assert not run.notes


def test_resumed_parts_are_joined(tmp_path):
    write_log(
        *(tmp_path, '1', step(10, loss=3.0), step(20, loss=2.0)),
        # Logged after the last checkpoint, and trained again.
        step(30, 2, loss=9.0),
    )
    write_log(tmp_path, '2', step(30, 2, loss=1.5), step(40, 2, loss=1.0))
    run = read_run(tmp_path, 'run')
    assert [x for x, _ in run.series['loss']] == [10, 20, 30, 40]
    assert run.series['loss'][2] == (30, 1.5)
    assert run.notes == ['2 resumed at iteration 30']


def test_a_broken_epoch_is_that_of_the_later_start(tmp_path):
    first = [step(i, 1 + i // 31, loss=9.0) for i in (20, 30, 50)]
    write_log(tmp_path, '1', *first)
    # Resumed behind iteration 30, logged for the first time at 51.
    write_log(tmp_path, '2', step(51, 2, loss=1.0))
    run = read_run(tmp_path, 'run')
    assert run.series['loss'] == [(20, 9.0), (30, 9.0), (51, 1.0)]


def test_a_run_that_began_anew_replaces_the_earlier(tmp_path):
    write_log(tmp_path, '1', step(10, loss=3.0, loss_partial=1.0))
    write_log(tmp_path, '2', step(10, loss=1.5))
    # A test in the same folder has no iterations.
    write_log(tmp_path, '3', {'retrieval/R1': 1.0, 'step': 0})
    run = read_run(tmp_path, 'run')
    assert run.series == {'loss': [(10, 1.5)]}
    assert run.notes == ['2 started over at iteration 10']


def test_a_line_that_was_cut_off_is_left_out_and_said(tmp_path):
    path = write_log(tmp_path, '1', step(10, loss=3.0), name='1.json')
    with path.open('a') as file:
        file.write('{"loss": 2.0, "it')
    run = read_run(tmp_path / '1', 'run')
    assert run.series == {'loss': [(10, 3.0)]}
    assert '1 lines are not JSON' in run.notes[0]


def test_a_folder_without_a_log_is_refused(tmp_path):
    with pytest.raises(SetupError, match='has no log of a training'):
        read_run(tmp_path, 'run')


def test_what_is_missing_is_left_out_and_said(tmp_path):
    values = {'loss': 1.0, 'logit_scale': 100.0, 'active_frames': 0.5}
    metrics = {'retrieval/R1': 1.0, 'retrieval/v2t_R1': 2.0, 'step': 1}
    metrics['retrieval/MnR'] = 3.0
    write_log(tmp_path / 'a', '1', step(10, **values), metrics)
    write_log(tmp_path / 'b', '1', step(10, loss=1.0))
    runs = [read_run(tmp_path / each, each) for each in 'ab']
    panels, missing = choose_panels(runs)
    assert [panel.title for panel in panels] == [
        'loss',
        'R@1, text to video (%)',
        'R@1, video to text (%)',
        'logit scale',
        'active margins: frames',
    ]
    assert missing == [
        'no run logged hard negatives per row',
        'b has no retrieval/R1, retrieval/v2t_R1, logit_scale, active_frames',
    ]


def test_runs_are_drawn_over_each_other(tmp_path):
    for name in ('_a/$run$', 'b/$run$'):
        records = [step(i, loss=1 / i, logit_scale=99.0) for i in (1, 2, 3)]
        write_log(tmp_path / name, '1', *records)
    out = [tmp_path / 'curves.svg', tmp_path / 'curves.png']
    folders = [tmp_path / '_a/$run$', tmp_path / 'b/$run$']
    arguments = [*folders, '--out', out[0], '--out', out[1]]
    assert main(list(map(str, arguments))) == 0
    svg = out[0].read_text()
    assert '_a/$run$' in svg
    assert 'b/$run$' in svg
    assert 'no run logged recall' in svg
    assert out[1].read_bytes().startswith(b'\x89PNG')
