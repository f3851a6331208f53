"""Runs of the real scripts in processes of their own."""

import re
import socket

import numpy as np
import pytest
import torch

STOP_HOOK = """
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class StopAfterFirstEpoch(Hook):
    priority = 'LOWEST'

    def after_train_epoch(self, runner):
        raise KeyboardInterrupt
"""


def directions(log):
    """What the log says of both directions, without the time."""
    return re.findall(r'INFO - ([tv]2[tv]  R@1 .*)', log)


def load(path):
    return torch.load(path, map_location='cpu', weights_only=True)


def scores(path):
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name].tolist() for name in file.files}


@pytest.fixture
def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


@pytest.mark.slow
def test_a_stopped_training_goes_on_and_is_tested(
    tiny_config, run_tool, fork_tool, tmp_path, free_port
):
    (tmp_path / 'stop_hook.py').write_text(STOP_HOOK)
    stopping = tmp_path / 'stopping.py'
    stopping.write_text(
        f"_base_ = '{tiny_config}'\n"
        "custom_imports = dict(imports=['stop_hook'])\n"
        "custom_hooks = [dict(type='StopAfterFirstEpoch')]\n"
    )
    work = tmp_path / 'work'
    stopped = run_tool(
        'train.py', stopping, '--work-dir', work, check=False, path=tmp_path
    )
    assert stopped.returncode == 130, stopped.stderr
    assert stopped.stderr.endswith(
        'stopped; --resume goes on from the last checkpoint\n'
    )
    first = load(work / 'epoch_1.pth')

    resumed = fork_tool(
        'train.py', tiny_config, '--work-dir', work, '--resume'
    )
    assert 'resumed epoch: 1, iter: 4' in resumed.stdout
    assert 'Epoch(train) [1]' not in resumed.stdout
    assert 'Epoch(train) [2][4/4]' in resumed.stdout
    for name in (
        'hard_negatives_per_row',
        'active_words',
        'logit_scale',
        'data_time',
        'samples_per_second',
        'host_memory_mb',
        'eta',
    ):
        assert f'{name}: ' in resumed.stdout
    assert 'Training results' in resumed.stdout
    second = load(work / 'epoch_2.pth')
    for checkpoint, steps in ((first, 4), (second, 8)):
        state = checkpoint['optimizer']['state']
        assert {int(each['step']) for each in state.values()} == {steps}
        assert checkpoint['meta']['iter'] == steps
    assert not any(
        torch.equal(first['state_dict'][name], second['state_dict'][name])
        for name in first['state_dict']
        if name.endswith('weight')
    )

    best = next(work.glob('best_*.pth'))
    options = ['--work-dir', work, '--dump']
    alone = fork_tool(
        'test.py', tiny_config, best, *options, tmp_path / 'alone.npz'
    ).stdout
    shared = run_tool(
        'dist_test.sh',
        *(tiny_config, best, 2, *options, tmp_path / 'shared.npz'),
        port=free_port,
    ).stdout
    assert f'checkpoint  {best}' in alone
    assert len(directions(alone)) == 2
    assert directions(alone) == directions(shared)
    assert set(directions(alone)) <= set(directions(resumed.stdout))
    assert scores(tmp_path / 'alone.npz') == scores(tmp_path / 'shared.npz')


@pytest.mark.slow
def test_two_processes_share_the_training(
    tiny_config, run_tool, tmp_path, free_port
):
    trained = run_tool(
        'dist_train.sh',
        tiny_config,
        2,
        '--work-dir',
        tmp_path,
        '--cfg-options',
        'train_cfg.max_epochs=1',
        port=free_port,
    )
    assert 'Epoch(train) [1][2/2]' in trained.stdout
    assert len(directions(trained.stdout)) == 2
    assert load(tmp_path / 'epoch_1.pth')['meta']['iter'] == 2


def test_a_missing_config_is_one_line_on_stderr(fork_tool):
    done = fork_tool('train.py', 'nowhere.py', check=False)
    assert done.returncode == 1
    assert done.stdout == ''
    assert re.fullmatch(
        r'error: there is neither a config file nowhere\.py .*\n', done.stderr
    )
