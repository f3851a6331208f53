"""Four groups of parameters: slow or not, decayed or not."""

import pytest
from dual_models import DUAL_FAMILIES
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from torch import nn

from mmtvr.config import load_config
from mmtvr.errors import SetupError
from mmtvr.registry import MODELS


def model():
    parts = nn.ModuleDict(
        dict(
            text_encoder=nn.Linear(2, 3),
            frame_encoder=nn.LayerNorm(3),
            head=nn.MultiheadAttention(4, 2),
        )
    )
    parts.text_encoder.bias.requires_grad_(False)
    return parts


def config(**paramwise):
    return dict(
        optimizer=dict(type='AdamW', lr=1e-4, weight_decay=0.2),
        constructor='mmtvr.TwoRateConstructor',
        paramwise_cfg=paramwise,
    )


def test_groups_by_rate_and_by_decay():
    wrapper = build_optim_wrapper(model(), config(slow_lr_mult=1e-3))
    found = {
        (round(group['lr'], 9), group['weight_decay']): sum(
            p.numel() for p in group['params']
        )
        for group in wrapper.optimizer.param_groups
    }
    assert found == {
        (1e-7, 0.2): 6,
        (1e-7, 0.0): 6,
        (1e-4, 0.2): 4 * 4 * 4,
        (1e-4, 0.0): 4 * 4,
    }


def test_prefix_of_nothing_is_an_error_that_lists_the_parts():
    with pytest.raises(ValueError, match=r"\['temporal'\].*frame_encoder"):
        build_optim_wrapper(model(), config(slow=['temporal']))


def test_unknown_key_is_an_error():
    with pytest.raises(ValueError, match='custom_keys'):
        build_optim_wrapper(model(), config(custom_keys={}))


@pytest.fixture(scope='module')
def tiny_model(tiny_config):
    init_default_scope('mmtvr')
    return MODELS.build(load_config(str(tiny_config)).model)


def rates(model, **paramwise):
    wrapper = build_optim_wrapper(model, config(**paramwise))
    names = {id(p): name for name, p in model.named_parameters()}
    return {
        names[id(p)]: (group['lr'], group['weight_decay'])
        for group in wrapper.optimizer.param_groups
        for p in group['params']
    }


def test_rate_decays_layer_by_layer(tiny_model):
    """Two layers: 1/8 before them, 1/4 and 1/2 in them, 1 behind them."""
    found = rates(tiny_model, slow_lr_mult=0.1, layer_decay=0.5)
    text = 'text_encoder.clip.text_model'
    frames = 'frame_encoder.clip.vision_model'
    for name, scale in {
        f'{text}.embeddings.token_embedding.weight': 1 / 8,
        f'{text}.encoder.layers.0.mlp.fc1.weight': 1 / 4,
        f'{text}.encoder.layers.1.mlp.fc1.bias': 1 / 2,
        f'{text}.final_layer_norm.weight': 1,
        'text_encoder.clip.text_projection.weight': 1,
        f'{frames}.embeddings.patch_embedding.weight': 1 / 8,
        f'{frames}.pre_layrnorm.weight': 1 / 8,
        f'{frames}.encoder.layers.0.self_attn.q_proj.weight': 1 / 4,
        f'{frames}.post_layernorm.bias': 1,
    }.items():
        assert found[name][0] == pytest.approx(1e-5 * scale), name
    assert found['logit_scale.log'][0] == pytest.approx(1e-4)
    assert len(found) == len(list(tiny_model.parameters()))


@pytest.mark.parametrize('kind', ['Text', 'Frame'])
def test_every_family_says_where_its_layers_are(dual_model, kind):
    init_default_scope('mmtvr')
    for name in DUAL_FAMILIES:
        encoder = MODELS.build(
            dict(
                type=f'mmtvr.Dual{kind}Encoder',
                encoder=str(dual_model(name)),
            )
        )
        parts = nn.ModuleDict(
            dict(text_encoder=encoder, frame_encoder=encoder)
        )
        found = rates(parts, slow=['text_encoder'], layer_decay=0.5)
        assert len({lr for lr, _ in found.values()}) > 2, name


def test_encoder_without_layers_and_other_decays_are_refused():
    with pytest.raises(SetupError, match=r'Linear, model\.text_encoder'):
        build_optim_wrapper(model(), config(layer_decay=0.9))
    with pytest.raises(SetupError, match=r'layer_decay=1\.5'):
        build_optim_wrapper(model(), config(layer_decay=1.5))


def test_no_norm_and_no_bias_decays(tiny_config):
    """In towers, adapters, temporal encoder, heads and losses alike."""
    init_default_scope('mmtvr')
    cfg = load_config(str(tiny_config), {'model.lora.text_encoder.r': 2}).model
    cfg.temporal = dict(
        type='mmtvr.FrameTransformer', embed_dims=32, num_layers=1, clip=None
    )
    whole = MODELS.build(cfg)
    found = rates(whole, layer_decay=0.8)
    norms = {
        f'{name}.{key}'
        for name, module in whole.named_modules()
        if 'Norm' in type(module).__name__
        for key, _ in module.named_parameters(recurse=False)
    }
    plain = {name for name in found if name.endswith('bias')} | norms
    assert any(name.startswith('temporal.') for name in norms & set(found))
    for name in plain & set(found):
        assert found[name][1] == 0, name
    gain = 'partial_loss.frame_importance.norm_weight'
    assert found[gain][1] == 0


def test_adapters_have_the_rate_of_new_parts(tiny_config):
    init_default_scope('mmtvr')
    options = {'model.lora.text_encoder.r': 2}
    model = MODELS.build(load_config(str(tiny_config), options).model)
    found = rates(model, slow_lr_mult=1e-3)
    lora = {lr for name, (lr, _) in found.items() if '.lora_' in name}
    assert lora == {1e-4}
    slow = found['text_encoder.clip.text_projection.weight']
    assert slow[0] == pytest.approx(1e-7)
