"""One message for what is missing, and the flags of the command line."""

import argparse
import importlib.util
import json
import re
import sys
from copy import deepcopy
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest
import torch
from mmengine.config import Config

from mmtvr.checkpoints import read_checkpoint
from mmtvr.cli.command import run_command
from mmtvr.datasets.keywords import load_tagger
from mmtvr.errors import SetupError

TOOLS = Path(__file__).resolve().parents[2] / 'tools'
TRAIN = 'train_dataloader.dataset'


def load_tool(name):
    spec = importlib.util.spec_from_file_location(
        f'tool_{name}', TOOLS / f'{name}.py'
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def without_bars(told):
    """What follows the progress bars, which a busy machine draws first."""
    found = re.search(r'(?<![^\r\n])error: .*', told, re.DOTALL)
    return found[0] if found else told


@pytest.fixture
def run(monkeypatch, capsys, tiny_config, tmp_path):
    """Run a tool in this process; returns exit status and stderr."""
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)

    # Runs within the same second would share a logger.
    config = tmp_path / f'config_{tmp_path.name}.py'
    config.write_text(f"_base_ = '{tiny_config}'")

    def call(tool, *arguments):
        command = [tool, config, *arguments]
        command += ['--work-dir', tmp_path / 'work']
        monkeypatch.setattr(sys, 'argv', [str(part) for part in command])
        status = load_tool(tool).main()
        return status, without_bars(capsys.readouterr().err)

    return call


@pytest.mark.parametrize(
    ('option', 'words'),
    [
        (f'{TRAIN}.data_prefix.video=nowhere', ['nowhere']),
        (f'{TRAIN}.ann_file=nowhere.json', ['nowhere.json', 'prepare']),
        ('val_dataloader.dataset.ann_file=gone.json', ['gone.json']),
        ('model.text_encoder.clip=/nowhere/clip', ['/nowhere/clip', 'folder']),
        (
            'model.head.levles=word',
            ['model.head', 'mmtvr.DMAEHead', '`levles`', '`levels`'],
        ),
        ('modle.head.levels=word', ['`modle`', '`model`']),
        (f'{TRAIN}.pipeline.2.crop_size=16', ['16x16', '32x32']),
        (f'{TRAIN}.pipeline.4.max_words=100', ['100', '77', 'max_words']),
        ('model.partial_loss.max_words=5', ['max_words', '5']),
    ],
)
def test_what_is_missing_is_one_message(run, option, words):
    status, message = run('train', '--cfg-options', option)
    assert status == 1
    assert message.startswith('error: ')
    assert 'Traceback' not in message
    assert len(message.splitlines()) < 6
    for word in words:
        assert word in message


def test_the_message_is_found_after_bars():
    told = '\rtagging:  50%|##  |\r          \rerror: no x\nerror: no y\n'
    assert without_bars(told) == 'error: no x\nerror: no y\n'
    assert without_bars('\rread: 3/3\nerror: no x\n') == 'error: no x\n'
    assert without_bars('Traceback: error: x') == 'Traceback: error: x'


def test_a_recipe_with_key_words_names_their_extra(run, monkeypatch, tmp_path):
    config = tmp_path / f'config_{tmp_path.name}.py'
    pipeline = "dict(pipeline=[dict(type='mmtvr.TagKeyWords')])"
    with config.open('a') as file:
        file.write(f'\ntrain_dataloader = dict(dataset={pipeline})\n')
    for name in ['HanTa', *(n for n in sys.modules if n.startswith('HanTa.'))]:
        monkeypatch.setitem(sys.modules, name, None)
    load_tagger.cache_clear()
    status, message = run('train')
    assert status == 1
    assert message.startswith('error: ')
    assert "pip install 'mmtvr[keywords]'" in message
    assert len(message.splitlines()) == 1


def test_an_annotation_file_of_another_layout_is_named(run, tmp_path):
    path = tmp_path / 'list.json'
    path.write_text(json.dumps([dict(video='a.mp4', caption='a dog')]))
    status, message = run('train', '--cfg-options', f'{TRAIN}.ann_file={path}')
    assert status == 1
    assert str(path) in message


@pytest.mark.parametrize(
    ('flags', 'words'),
    [
        (['--resume', 'gone.pth'], 'checkpoint gone.pth does not exist'),
        (['--amp'], '--amp needs a GPU'),
        (['--amp-dtype', 'bf16'], '--amp-dtype bf16 needs a GPU'),
        (['--auto-scale-lr'], 'base_batch_size'),
        (['--launcher', 'slurm'], 'tools/slurm_train.sh'),
    ],
)
def test_flags_that_cannot_be_followed_are_one_message(run, flags, words):
    status, message = run('train', *flags)
    assert status == 1
    assert words in message


def test_a_test_without_its_checkpoint_is_one_message(run, tmp_path):
    status, message = run('test', 'gone.pth')
    assert status == 1
    assert 'no checkpoint or work folder gone.pth' in message
    other = tmp_path / 'other.pth'
    torch.save(dict(state_dict={'head.weight': torch.zeros(1)}), other)
    status, message = run('test', other)
    assert status == 1
    assert 'does not fit the model' in message
    status, message = run('test', other, '--dump', 'scores.pkl')
    assert status == 1
    assert '.npz' in message


def test_code_in_a_checkpoint_is_one_message_of_each_command(run, tmp_path):
    evil = tmp_path / 'evil.pth'
    torch.save(dict(state_dict={}, x=print), evil)
    calls = {
        'test': [evil],
        'train': ['--cfg-options', f'load_from={evil}'],
    }
    for tool, arguments in calls.items():
        status, message = run(tool, *arguments)
        assert status == 1, message
        assert 'would run code' in message
        assert '--trust-checkpoint' in message
        assert len(message.splitlines()) == 1
    weights = tmp_path / 'weights.safetensors'
    weights.touch()
    status, message = run('train', '--resume', weights)
    assert status == 1
    assert 'holds weights alone' in message


def test_weights_become_safetensors(tmp_path, monkeypatch, capsys):
    shared = torch.ones(2, 3)
    content = {'a': shared, 'tied': shared.T}
    torch.save(dict(state_dict=content, optimizer={}), tmp_path / 'a.pth')

    def convert(*names):
        command = ['to_safetensors', *(str(tmp_path / name) for name in names)]
        monkeypatch.setattr(sys, 'argv', command)
        return run_command(load_tool('to_safetensors').main)

    assert convert('a.pth', 'a.safetensors') == 0
    read = read_checkpoint(tmp_path / 'a.safetensors')['state_dict']
    assert {name: value.tolist() for name, value in read.items()} == {
        name: value.tolist() for name, value in content.items()
    }
    assert convert('a.pth', 'a.safetensors') == 1
    assert 'is there already' in capsys.readouterr().err
    assert convert('a.pth', 'b.pth') == 1
    assert 'must end in .safetensors' in capsys.readouterr().err


@pytest.fixture
def config():
    return Config(
        dict(
            val_cfg=dict(),
            val_dataloader=dict(),
            val_evaluator=dict(),
            optim_wrapper=dict(type='OptimWrapper'),
            auto_scale_lr=dict(enable=False, base_batch_size=128),
        )
    )


@pytest.fixture(scope='module')
def train():
    return importlib.import_module('mmtvr.cli.train')


def put(train, config, **given):
    unset = dict(
        seed=None,
        resume=None,
        no_validate=False,
        amp=False,
        amp_dtype=None,
        auto_scale_lr=False,
        log=[],
    )
    train.apply(argparse.Namespace(**unset | given), config)
    return config


def test_seed_and_validation_follow_the_flags(train, config):
    got = put(train, config, seed=3, no_validate=True)
    assert got.randomness.seed == 3
    assert got.val_cfg is got.val_dataloader is got.val_evaluator is None


def test_resume_finds_or_takes_the_checkpoint(train, config, tmp_path):
    got = put(train, config, resume='auto')
    assert got.resume
    assert got.load_from is None
    path = tmp_path / 'x.pth'
    path.touch()
    assert put(train, config, resume=str(path)).load_from == str(path)


def test_rate_is_scaled_only_when_asked(train, config):
    assert not put(train, config).auto_scale_lr.enable
    assert put(train, config, auto_scale_lr=True).auto_scale_lr.enable


def test_curves_go_to_further_backends(train, config, monkeypatch):
    wandb = ModuleType('wandb')
    # Of Accelerate, which PEFT imports.
    wandb.__spec__ = ModuleSpec('wandb', None)
    monkeypatch.setitem(sys.modules, 'wandb', wandb)
    local = [dict(type='LocalVisBackend')]
    config.visualizer = dict(type='Visualizer', vis_backends=local)
    got = put(train, config, log=['tensorboard', 'wandb'])
    assert [each.type for each in got.visualizer.vis_backends] == [
        'LocalVisBackend',
        'TensorboardVisBackend',
        'WandbVisBackend',
    ]
    again = put(train, got, log=['wandb'])
    assert len(again.visualizer.vis_backends) == 3
    monkeypatch.setitem(sys.modules, 'wandb', None)
    with pytest.raises(SetupError, match=r"pip install 'mmtvr\[wandb\]'"):
        put(train, config, log=['wandb'])


def test_mixed_precision_needs_a_gpu(train, config, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(SetupError, match='GPU'):
        put(train, config, amp=True)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    got = put(train, config, amp=True)
    assert got.optim_wrapper.type == 'AmpOptimWrapper'
    assert got.optim_wrapper.loss_scale == 'dynamic'
    assert 'dtype' not in got.optim_wrapper


def test_mixed_precision_has_the_type_that_is_asked(
    train, config, monkeypatch
):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'is_bf16_supported', lambda: True)
    half = put(train, deepcopy(config), amp_dtype='fp16').optim_wrapper
    assert (half.dtype, half.loss_scale) == ('float16', 'dynamic')
    brain = put(train, deepcopy(config), amp_dtype='bf16').optim_wrapper
    assert brain.type == 'AmpOptimWrapper'
    assert (brain.dtype, brain.loss_scale) == ('bfloat16', 1.0)
    monkeypatch.setattr(torch.cuda, 'is_bf16_supported', lambda: False)
    with pytest.raises(SetupError, match='--amp-dtype fp16'):
        put(train, deepcopy(config), amp_dtype='bf16')
