import socket

import pytest
import torch
from mmengine.config import Config

from mmtvr.distributed import VARIABLES, launch, launched_rank, torchrun
from mmtvr.distributed.launch import prepare_launch
from mmtvr.errors import SetupError

GPU_CONFIG = dict(env_cfg=dict(dist_cfg=dict(backend='nccl')))


@pytest.fixture
def no_launcher(monkeypatch):
    for names in VARIABLES.values():
        for name in names:
            monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.fixture
def opened(no_launcher):
    """Pretend to open a process group; returns the backends asked for."""
    backends = []

    def open_process_group(backend, timeout):
        backends.append((backend, timeout))

    no_launcher.setattr(launch, 'open_process_group', open_process_group)
    no_launcher.setattr(torch.cuda, 'is_available', lambda: False)
    no_launcher.setenv('MASTER_ADDR', 'first')
    no_launcher.setenv('MASTER_PORT', '29999')
    return backends


@pytest.mark.parametrize('launcher', ['pytorch', 'slurm', 'mpi'])
def test_cpu_processes_of_every_launcher_meet_by_gloo(
    opened, monkeypatch, launcher
):
    for name, value in zip(VARIABLES[launcher], ('3', '4', '1'), strict=True):
        monkeypatch.setenv(name, value)
    assert launched_rank() == 3
    for name in VARIABLES['pytorch']:
        monkeypatch.setenv(name, '3')
    if launcher == 'pytorch':
        monkeypatch.setenv('WORLD_SIZE', '4')
    cfg = Config(GPU_CONFIG)
    prepare_launch(cfg, launcher)
    assert opened == [('gloo', 600)]
    assert [hook['type'] for hook in cfg.custom_hooks] == [
        'mmtvr.LoadingWorkersHook',
        'mmtvr.RunSummaryHook',
        'mmtvr.ActivityHook',
    ]
    assert cfg.env_cfg.dist_cfg.backend == 'gloo'
    assert cfg.model_wrapper_cfg.device_ids is None
    assert cfg.launcher == launcher
    assert launch.os.environ['WORLD_SIZE'] == '4'


def test_one_process_changes_nothing(opened, monkeypatch):
    monkeypatch.setenv('OMP_NUM_THREADS', '2')
    cfg = Config(GPU_CONFIG)
    prepare_launch(cfg, 'none')
    assert not opened
    assert cfg.env_cfg.dist_cfg.backend == 'nccl'


@pytest.mark.parametrize(
    ('cores', 'workers', 'expected'), [(2, 2, 1), (16, 2, 14), (4, 0, 4)]
)
def test_one_process_on_the_cpu_leaves_cores_to_its_workers(
    opened, monkeypatch, cores, workers, expected
):
    monkeypatch.delenv('OMP_NUM_THREADS', raising=False)
    monkeypatch.setattr(torch, 'get_num_threads', lambda: cores)
    chosen = []
    monkeypatch.setattr(torch, 'set_num_threads', chosen.append)
    cfg = Config(dict(train_dataloader=dict(num_workers=workers)))
    prepare_launch(cfg, 'none')
    assert chosen == [expected]


def test_a_number_of_threads_that_the_user_set_is_kept(opened, monkeypatch):
    monkeypatch.setenv('OMP_NUM_THREADS', '2')
    monkeypatch.setattr(torch, 'set_num_threads', pytest.fail)
    prepare_launch(Config(dict(train_dataloader=dict(num_workers=2))), 'none')


def test_a_wrapper_of_the_user_keeps_its_settings(opened, monkeypatch):
    for name in VARIABLES['pytorch']:
        monkeypatch.setenv(name, '0')
    cfg = Config(GPU_CONFIG)
    cfg.model_wrapper_cfg = dict(find_unused_parameters=True, device_ids=[0])
    prepare_launch(cfg, 'pytorch')
    assert cfg.model_wrapper_cfg.find_unused_parameters
    assert cfg.model_wrapper_cfg.device_ids is None


def test_a_launcher_that_did_not_start_us_is_an_error(no_launcher):
    with pytest.raises(SetupError, match=r'RANK.*dist_train.sh'):
        prepare_launch(Config(GPU_CONFIG), 'pytorch')


@pytest.mark.parametrize('timeout', [0, -1, '1h', True, None])
def test_a_timeout_that_is_none_is_an_error(opened, monkeypatch, timeout):
    for name in VARIABLES['pytorch']:
        monkeypatch.setenv(name, '0')
    cfg = Config(dict(env_cfg=dict(dist_cfg=dict(timeout=timeout))))
    with pytest.raises(SetupError, match=r'env_cfg.dist_cfg.timeout'):
        prepare_launch(cfg, 'pytorch')


def test_more_processes_than_gpus_is_an_error(no_launcher):
    no_launcher.setattr(torch.cuda, 'device_count', lambda: 1)
    with pytest.raises(SetupError, match='only 1'):
        launch.check_gpus(local_rank=1)


def test_one_host_takes_any_free_port_and_several_agree():
    port = torchrun._choose_port('1')
    with socket.socket() as free:
        free.bind(('127.0.0.1', port))
        assert torchrun._choose_port('1') != port
    assert torchrun._choose_port('2') == torchrun._choose_port('1:4') == 29500
