import logging
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import InfiniteSampler
from mmengine.model import BaseModel
from torch.utils.data import DataLoader, SequentialSampler

from mmtvr.checkpoints import read_checkpoint
from mmtvr.config import preflight
from mmtvr.config.preflight import (
    SETTINGS,
    ShortFormatter,
    build_runner,
    check_batches,
    check_file,
    check_weights,
    try_sample,
)
from mmtvr.datasets.samplers import ResumableBatchSampler
from mmtvr.errors import SetupError


class Model(BaseModel):
    def __init__(self, fault=None):
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)
        self.fault = fault

    def forward(self, inputs, data_samples, mode):
        assert mode == 'tensor'
        assert not self.training
        assert not torch.is_grad_enabled()
        if self.fault:
            raise self.fault
        return torch.rand(1), np.random.rand() + random.random()

    def similarity(self, text, video):
        return text + video


SAMPLES = [dict(inputs=torch.zeros(3), data_samples=0)]


def test_a_trial_leaves_random_states_and_mode_alone():
    def states():
        return (
            torch.random.get_rng_state().tolist(),
            np.random.get_state()[1].tolist(),
            random.getstate(),
        )

    model = Model()
    before = states()
    try_sample(model, SAMPLES)
    assert states() == before
    assert model.training


def test_a_misfit_comes_through():
    with pytest.raises(SetupError, match='80 words'):
        try_sample(Model(SetupError('80 words')), SAMPLES)


def test_other_errors_are_left_to_the_run():
    model = Model(KeyError('imgs'))
    try_sample(model, SAMPLES)
    assert model.training


def test_a_missing_file_is_named(tmp_path):
    check_file(str(tmp_path), 'folder')
    check_file('https://example.org/x.pth', 'checkpoint')
    with pytest.raises(SetupError, match=r'the checkpoint .*x\.pth does not'):
        check_file(str(tmp_path / 'x.pth'), 'checkpoint')


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    path = str(tmp_path / 'x.pth')
    model = Model()
    torch.save(dict(state_dict=model.state_dict(), meta={}), path)
    check_weights(model, path)
    torch.save(model.state_dict() | dict(more=torch.ones(1)), path)
    check_weights(model, path)
    torch.save(dict(state_dict={'layer.weight': torch.zeros(3, 3)}), path)
    with pytest.raises(SetupError, match=r'2 weights .* layer.weight'):
        check_weights(model, path)


def test_an_unreadable_checkpoint_is_refused(tmp_path):
    path = tmp_path / 'x.pth'
    path.write_bytes(b'not a checkpoint')
    with pytest.raises(SetupError, match='cannot be read'):
        check_weights(Model(), str(path))


class Numbers(torch.utils.data.Dataset):
    def __len__(self):
        return 5

    def __getitem__(self, index):
        return index


def test_training_without_a_batch_is_an_error():
    loader = DataLoader(Numbers(), batch_size=8, drop_last=True)
    with pytest.raises(SetupError, match=r'batch_size=8, drop_last=True'):
        check_batches(loader)
    check_batches(DataLoader(Numbers(), batch_size=8))


def test_a_sampler_without_end_always_has_a_batch():
    loader = DataLoader(
        Numbers(), 8, drop_last=True, sampler=InfiniteSampler(Numbers())
    )
    check_batches(loader)


def test_processes_with_other_numbers_of_batches_are_an_error(monkeypatch):
    monkeypatch.setattr(preflight, 'all_gather_object', lambda n: [n, 2])
    with pytest.raises(SetupError, match=r'\[3, 2\].*round_up=True'):
        check_batches(DataLoader(Numbers(), batch_size=2))
    monkeypatch.setattr(preflight, 'all_gather_object', lambda n: [n, 0])
    with pytest.raises(SetupError, match='process 1 has no training batch'):
        check_batches(DataLoader(Numbers(), batch_size=2))


def test_settings_go_to_the_log_file_alone(tmp_path, tiny_config, capfd):
    cfg = Config.fromfile(tiny_config)
    cfg.work_dir = str(tmp_path)
    runner = build_runner(cfg)
    runner.logger.info('Checkpoints will be saved to x.')
    runner.logger.info('a line of the run')
    console = ''.join(capfd.readouterr())
    (log,) = tmp_path.glob('*/*.log')
    for settings in SETTINGS:
        assert settings in log.read_text()
        assert settings not in console
    assert 'Checkpoints will be' not in console
    assert 'a line of the run' in console


def test_a_terminal_gets_short_lines():
    shown = [
        ShortFormatter(datefmt='%M').format(
            logging.makeLogRecord(
                dict(levelno=level, levelname=name, msg='%s', args=('x',))
            )
        )
        for level, name in ((logging.INFO, 'INFO'), (logging.ERROR, 'ERROR'))
    ]
    assert [each[2:] for each in shown] == [' x', ' ERROR: x']


class Pair(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.text_encoder = torch.nn.Linear(2, 2)
        self.head = torch.nn.Linear(2, 1)


@pytest.mark.parametrize(
    ('names', 'problem'),
    [
        (('clip.visual.conv1.weight',), 'no weight of .*clip.visual'),
        (('head.weight', 'head.bias'), 'no weight of an encoder'),
        (('module.text_encoder.weight',), ''),
    ],
)
def test_a_start_from_weights_that_do_not_fit_is_refused(
    tmp_path, monkeypatch, names, problem
):
    logged = []
    monkeypatch.setattr(preflight, 'print_log', lambda x, *_: logged.append(x))
    model, path = Pair(), str(tmp_path / 'x.pth')
    shapes = {n: p.shape for n, p in model.state_dict().items()}
    torch.save(
        {
            name: torch.ones(shapes.get(name.removeprefix('module.'), (3,)))
            for name in names
        },
        path,
    )
    if problem:
        with pytest.raises(SetupError, match=problem):
            check_weights(model, path, whole=False)
        return
    check_weights(model, path, whole=False)
    (line,) = logged
    assert '1 of 4 weights fit' in line
    assert 'without module.' in line
    runner = SimpleNamespace(model=model, _resume=False)
    checkpoint = read_checkpoint(path)
    preflight.FitWeights().after_load_checkpoint(runner, checkpoint)
    assert list(checkpoint['state_dict']) == ['text_encoder.weight']


@pytest.mark.parametrize(('size', 'warns'), [(1, True), (2, False)])
def test_a_batch_of_one_is_warned_of_with_the_values_of_the_config(
    monkeypatch, size, warns
):
    logged = []
    monkeypatch.setattr(preflight, 'print_log', lambda x, *_: logged.append(x))
    batches = ResumableBatchSampler(SequentialSampler(Numbers()), size)
    check_batches(DataLoader(Numbers(), batch_sampler=batches))
    assert [f'batch_size={size}, drop_last=False' in x for x in logged] == (
        [True] if warns else []
    )
    batches = ResumableBatchSampler(SequentialSampler(Numbers()), 64, True)
    with pytest.raises(SetupError, match='batch_size=64, drop_last=True'):
        check_batches(DataLoader(Numbers(), batch_sampler=batches))


def test_tf32_is_a_setting_of_the_config(monkeypatch):
    monkeypatch.setattr(preflight.Runner, 'from_cfg', lambda cfg: cfg)
    matmul = torch.backends.cuda.matmul
    before = matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    try:
        matmul.allow_tf32 = False
        preflight.build_runner(Config(dict(env_cfg=dict(tf32=False))))
        assert not matmul.allow_tf32
        preflight.build_runner(Config(dict(env_cfg=dict(tf32=True))))
        assert matmul.allow_tf32
    finally:
        matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
