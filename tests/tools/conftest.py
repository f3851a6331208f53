"""A tiny config over the tiny CLIP and the tiny videos, and a way to run."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmtvr.registry import MODELS

ROOT = Path(__file__).resolve().parents[2]
ANALYSIS = ROOT / 'tools/analysis'
CONFIG = """
_base_ = '{root}/configs/_base_/default_runtime.py'
clip = '{clip}'
load = dict(type='mmtvr.LoadVideoFrames', num_frames=3, short_side=32)
rest = [
    dict(type='mmaction.Resize', scale=(-1, 32)),
    dict(type='mmaction.CenterCrop', crop_size=32),
    dict(type='mmaction.FormatShape', input_format='NCHW'),
    dict(type='mmtvr.TokenizeText', tokenizer=clip, max_words=16),
    dict(type='mmtvr.PackTextVideo'),
]
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='mmtvr.TextVideoDataset',
        data_root='{data}',
        ann_file='train_9k.json',
        data_prefix=dict(video='videos'),
        pipeline=[load, *rest]))
val_dataloader = dict(
    batch_size=2,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='mmtvr.TextVideoDataset',
        data_root='{data}',
        ann_file='test_JSFUSION.json',
        data_prefix=dict(video='videos'),
        pipeline=[dict(load, test_mode=True), *rest],
        test_mode=True))
test_dataloader = val_dataloader
val_evaluator = dict(type='mmtvr.TextVideoRecall')
test_evaluator = val_evaluator
model = dict(
    type='mmtvr.TextVideoRetriever',
    text_encoder=dict(type='mmtvr.CLIPTextEncoder', clip=clip),
    frame_encoder=dict(type='mmtvr.CLIPFrameEncoder', clip=clip),
    head=dict(type='mmtvr.DMAEHead', embed_dims=32),
    contrastive_loss=dict(type='mmtvr.NegNCELoss'),
    partial_loss=dict(
        type='mmtvr.TPMCLLoss', embed_dims=32, max_words=16, max_frames=3))
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3))
train_cfg = dict(type='mmtvr.ResumableTrainLoop', max_epochs=2, val_interval=1)
val_cfg = dict(type='mmtvr.RetrievalValLoop')
test_cfg = dict(type='mmtvr.RetrievalTestLoop')
default_hooks = dict(logger=dict(interval=1))
env_cfg = dict(mp_cfg=dict(mp_start_method='fork'))
"""


@pytest.fixture(scope='session')
def tiny_config(tmp_path_factory, tiny_clip, tiny_videos):
    """A config that trains two epochs of four steps in a second."""
    path = tmp_path_factory.mktemp('config') / 'tiny.py'
    path.write_text(CONFIG.format(root=ROOT, clip=tiny_clip, data=tiny_videos))
    return path


@pytest.fixture(scope='session')
def run_tool():
    """Run a script of ``tools/``; returns the finished process."""

    def run(tool, *arguments, check=True, port=None, path=None):
        command = [str(ROOT / 'tools' / tool), *map(str, arguments)]
        if tool.endswith('.py'):
            command.insert(0, sys.executable)
        folder = str(Path(sys.executable).parent)
        environment = {
            **os.environ,
            'OMP_NUM_THREADS': '1',
            'CUDA_VISIBLE_DEVICES': '',
            'HF_HUB_OFFLINE': '1',
            'PATH': os.pathsep.join([folder, os.environ['PATH']]),
            'PYTHONPATH': os.pathsep.join([str(ROOT), str(path or ROOT)]),
        }
        if port:
            environment['PORT'] = str(port)
        done = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        if check:
            assert done.returncode == 0, done.stdout + done.stderr
        return done

    return run


@pytest.fixture(scope='session')
def fork_tool(fork):
    """Run a script of ``tools/``, or a module, in a fork.

    That spares it the imports.
    Scripts whose own imports matter have a test with ``run_tool``.
    """

    def run(tool, *arguments, check=True, path=None):
        def work():
            sys.path.insert(0, str(path or ROOT))
            sys.argv = [tool, *map(str, arguments)]
            if tool.endswith('.py'):
                sys.argv[0] = str(ROOT / 'tools' / tool)
                runpy.run_path(sys.argv[0], run_name='__main__')
            else:
                runpy.run_module(tool, run_name='__main__', alter_sys=True)

        path_of_children = os.pathsep.join([str(ROOT), str(path or ROOT)])
        return fork(work, PYTHONPATH=path_of_children).finish(check)

    return run


@pytest.fixture
def load_script(monkeypatch):
    """Names that a script of the folder defines, as if it had been run."""
    monkeypatch.syspath_prepend(str(ANALYSIS))
    return lambda name: runpy.run_path(str(ANALYSIS / f'{name}.py'))


@pytest.fixture(scope='session')
def load_benchmark():
    """Names that a module of ``benchmarks`` defines, as if it were new."""
    return lambda name: runpy.run_module(f'benchmarks.{name}')


@pytest.fixture
def checkpoint(tiny_config, tmp_path):
    """Untrained weights of the tiny config."""
    init_default_scope('mmtvr')
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(tiny_config).model)
    path = tmp_path / 'model.pth'
    torch.save(dict(state_dict=model.state_dict()), path)
    return path
