"""The estimate of memory against what autograd really saves."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from benchmarks.plan_memory import LEARNED, estimate, find_recipes
from benchmarks.synthetic import draw_batch
from mmtvr.registry import MODELS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def config():
    init_default_scope('mmtvr')
    return Config.fromfile(ROOT / 'configs/clip4clip_moving_shapes.py').model


def test_estimate_is_what_a_real_forward_pass_saves(config):
    fixed, activations = estimate(config, 4, 24, 8)
    model = MODELS.build(config).train()
    saved = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        losses = model(draw_batch(20, 4, 24, 8, 54, 'cpu'), mode='loss')
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    real = sum(s.nbytes() for key, s in saved.items() if key not in own)
    assert losses
    assert activations == pytest.approx(real, rel=0.02)
    assert fixed == LEARNED * sum(p.numel() for p in model.parameters())


def test_settings_save_memory_and_the_batch_costs_it(config):
    _, plain = estimate(config, 4, 24, 8)
    _, more = estimate(config, 8, 24, 8)
    assert more == pytest.approx(2 * plain, rel=0.02)
    _, half = estimate(config, 8, 24, 8, bfloat16=True)
    _, least = estimate(config, 8, 24, 8, bfloat16=True, checkpointing=True)
    assert least < half < more
    assert not config.text_encoder.get('gradient_checkpointing')


@pytest.mark.slow
def test_recipes_that_are_alike_share_a_row():
    names = list(find_recipes(ROOT / 'configs').values())
    assert ['dmae_activitynet', 'dmae_didemo'] in names
    assert not any('dmae_msrvtt_metaclip2' in row for row in names)
