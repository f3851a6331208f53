"""LoRA adapters in the towers."""

import shutil

import pytest
import torch
from mmengine.registry import init_default_scope
from safetensors.torch import load_file

from mmtvr.cli import lora as command
from mmtvr.config import load_config
from mmtvr.config.preflight import build_runner, check_weights
from mmtvr.errors import SetupError
from mmtvr.models.lora import ADAPTER, add_lora, merge_lora
from mmtvr.registry import MODELS

peft = pytest.importorskip('peft')
BOTH = {
    'model.lora.text_encoder.r': 4,
    'model.lora.frame_encoder.r': 2,
    'model.lora.frame_encoder.lora_alpha': 8,
    'train_cfg.max_epochs': 1,
}


@pytest.fixture(scope='module')
def trained(tiny_config, tmp_path_factory):
    """Work folder, model and initial weights of an epoch with adapters."""
    folder = tmp_path_factory.mktemp('lora')
    runner = build_runner(load_config(str(tiny_config), BOTH, str(folder)))
    before = {k: v.clone() for k, v in runner.model.state_dict().items()}
    runner.train()
    return folder, runner.model.eval(), before


def batch_of(model):
    torch.manual_seed(0)
    return dict(
        frames=torch.randint(256, (3, 3, 3, 32, 32)).byte(),
        frame_mask=torch.ones(3, 3, dtype=torch.bool),
        tokens=torch.randint(500, (4, 9)),
        token_mask=torch.ones(4, 9, dtype=torch.bool),
    )


@torch.no_grad()
def similarity(model):
    inputs = batch_of(model)
    return model.similarity(
        model.extract_text(inputs), model.extract_video(inputs)
    )


def test_adapters_and_what_is_behind_the_towers_learn(trained):
    _, model, before = trained
    after = model.state_dict()
    changed = {k for k in after if not torch.equal(before[k], after[k])}
    towers = {k for k in changed if k.startswith(('text_', 'frame_'))}
    assert {k for k in towers if ADAPTER not in k} == {
        'text_encoder.clip.text_projection.weight',
        'frame_encoder.clip.visual_projection.weight',
    }
    # Two layers, query and value, two matrices each, in both towers.
    assert sum(ADAPTER in k for k in towers) == 2 * 2 * 2 * 2
    assert 'logit_scale.log' in changed


def test_merged_checkpoint_has_the_same_similarities(
    trained, tiny_config, tmp_path
):
    folder, model, _ = trained
    merged = tmp_path / 'merged.pth'
    alone = tmp_path / 'adapters.safetensors'
    options = [f'{key}={value}' for key, value in BOTH.items()]
    last = str(folder / 'epoch_1.pth')
    command.write_adapters(
        command.parse_args(
            [
                *(str(tiny_config), last, '--merged', str(merged)),
                *('--adapters', str(alone), '--cfg-options', *options),
            ]
        )
    )
    plain = MODELS.build(load_config(str(tiny_config)).model).eval()
    untrained = similarity(plain)
    check_weights(plain, str(merged))
    weights = torch.load(merged, weights_only=True)['state_dict']
    plain.load_state_dict(weights)
    expected = similarity(model)
    torch.testing.assert_close(similarity(plain), expected, atol=1e-5, rtol=0)
    assert (untrained - expected).abs().max() > 1e-3
    # Adapters alone are merged to the same, and are small.
    again = tmp_path / 'again.pth'
    command.write_adapters(
        command.parse_args(
            [
                *(str(tiny_config), str(alone), '--merged', str(again)),
                *('--cfg-options', *options),
            ]
        )
    )
    other = torch.load(again, weights_only=True)['state_dict']
    assert other.keys() == weights.keys()
    assert all(torch.equal(weights[k], other[k]) for k in weights)
    kept = load_file(alone)
    towers = [k for k in kept if k.startswith(('text_', 'frame_'))]
    assert all(ADAPTER in k or 'projection' in k for k in towers)


@pytest.mark.slow
def test_training_resumes_bit_for_bit(trained, tiny_config, tmp_path):
    shutil.copytree(trained[0], tmp_path / 'resumed')
    (tmp_path / 'resumed' / 'last_checkpoint').write_text('epoch_1.pth')
    states = []
    for name in ('whole', 'resumed'):
        options = {**BOTH, 'train_cfg.max_epochs': 2}
        options['resume'] = name == 'resumed'
        work = str(tmp_path / name)
        runner = build_runner(load_config(str(tiny_config), options, work))
        runner.train()
        assert runner.epoch == 2
        states.append(runner.model.state_dict())
    one, other = states
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_weights_without_adapters_load(tiny_config):
    init_default_scope('mmtvr')
    torch.manual_seed(3)
    plain = MODELS.build(load_config(str(tiny_config)).model)
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    model = MODELS.build(load_config(str(tiny_config), BOTH).model)
    missing, unexpected = model.load_state_dict(
        plain.state_dict(), strict=False
    )
    assert not unexpected
    assert all(ADAPTER in name for name in missing)
    # An adapter begins as zero.
    torch.testing.assert_close(
        similarity(model.eval()), similarity(plain.eval())
    )
    merged = merge_lora(model)
    assert merged.keys() == plain.state_dict().keys()


@pytest.mark.parametrize(
    'family', ['metaclip_2', 'altclip', 'siglip', 'xclip', 'videoprism']
)
@pytest.mark.parametrize('kind', ['Text', 'Frame'])
def test_attention_layers_of_other_towers_are_found(dual_model, family, kind):
    encoder = MODELS.build(
        dict(type=f'mmtvr.Dual{kind}Encoder', encoder=str(dual_model(family)))
    )
    add_lora(encoder, 'text_encoder', r=2)
    learned = [n for n, p in encoder.named_parameters() if p.requires_grad]
    assert learned
    assert all(ADAPTER in name for name in learned)


def test_tower_without_attention_is_refused_and_its_layers_named(dual_model):
    encoder = MODELS.build(
        dict(type='mmtvr.DualFrameEncoder', encoder=str(dual_model('align')))
    )
    with pytest.raises(SetupError, match=r'no attention layers.*none'):
        add_lora(encoder, 'frame_encoder', r=2)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'model.lora.text_encoder.rank': 2}, 'rank'),
        ({'model.lora.text_encoder.r': 0}, 'r'),
        ({'model.lora.text.r': 2}, "'text'.*text_encoder"),
        (
            {'model.lora.text_encoder.target_modules': ['nothing']},
            'nothing',
        ),
        (
            {'model.lora.text_encoder.r': 2, 'model.frozen_encoders': True},
            'leave out one',
        ),
    ],
)
def test_wrong_options_are_refused(tiny_config, options, message):
    init_default_scope('mmtvr')
    with pytest.raises(SetupError, match=message):
        MODELS.build(load_config(str(tiny_config), options).model)
