"""Checkpoints of others: weights come in, code does not run."""

import os
import pickle

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub
from safetensors.torch import save_file

from mmtvr.checkpoints import fit_weights, read_checkpoint
from mmtvr.errors import SetupError

WEIGHTS = {'head.weight': torch.arange(3.0)}


class CallsAFunction:
    """Unpickling it calls a function, as any pickle may."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def hostile(kind, marker):
    """Objects whose unpickling would create the marker."""
    shell = CallsAFunction(os.system, f'touch {marker}')
    python = CallsAFunction(eval, f"open({str(marker)!r}, 'w')")
    # getattr(os, 'system') leads anywhere where getattr is allowed.
    found = CallsAFunction(getattr, CallsAFunction(__import__, 'os'), 'system')
    return {'shell': shell, 'python': python, 'getattr': found}[kind]


@pytest.mark.parametrize('is_zip', [True, False])
@pytest.mark.parametrize('kind', ['shell', 'python', 'getattr'])
def test_code_in_a_checkpoint_is_refused_and_not_run(tmp_path, kind, is_zip):
    path, marker = tmp_path / 'evil.pth', tmp_path / 'marker'
    content = {'state_dict': WEIGHTS, 'extra': hostile(kind, marker)}
    torch.save(content, path, _use_new_zipfile_serialization=is_zip)
    with pytest.raises(SetupError, match='would run code') as error:
        read_checkpoint(path)
    assert not marker.exists()
    assert str(path) in str(error.value)
    assert '--trust-checkpoint' in str(error.value)


def test_a_bare_pickle_is_refused_and_not_run(tmp_path):
    path, marker = tmp_path / 'evil.pth', tmp_path / 'marker'
    path.write_bytes(pickle.dumps(hostile('shell', marker)))
    with pytest.raises(SetupError, match=r'evil.pth'):
        read_checkpoint(path)
    assert not marker.exists()


def test_the_variable_that_switches_torch_does_not_switch_this(
    tmp_path, monkeypatch
):
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    path, marker = tmp_path / 'evil.pth', tmp_path / 'marker'
    torch.save({'state_dict': hostile('shell', marker)}, path)
    with pytest.raises(SetupError, match='would run code'):
        read_checkpoint(path)
    assert not marker.exists()


def test_trust_runs_what_the_file_contains(tmp_path):
    path, marker = tmp_path / 'own.pth', tmp_path / 'marker'
    torch.save({'state_dict': WEIGHTS, 'x': hostile('shell', marker)}, path)
    assert read_checkpoint(path, trust=True)['x'] == 0
    assert marker.exists()


@pytest.fixture
def mmengine_checkpoint():
    """What mmengine's own runner saves: log history and numpy numbers."""
    hub = MessageHub('reading')
    for value in range(4):
        hub.update_scalar('train/loss', float(value), count=2)
    hub.update_info('best_score', np.float64(61.5))
    return {
        'meta': {'epoch': 3, 'score': np.float32(2), 'seed': np.int64(5)},
        'state_dict': WEIGHTS,
        'message_hub': hub.state_dict(),
        'array': np.arange(4).reshape(2, 2),
    }


def test_a_checkpoint_of_mmengine_comes_whole_without_trust(
    tmp_path, mmengine_checkpoint
):
    methods = dict(HistoryBuffer._statistics_methods)
    torch.save(mmengine_checkpoint, tmp_path / 'epoch_3.pth')
    content = read_checkpoint(tmp_path / 'epoch_3.pth')
    assert content['meta'] == {'epoch': 3, 'score': 2.0, 'seed': 5}
    assert content['array'].tolist() == [[0, 1], [2, 3]]
    assert torch.equal(content['state_dict']['head.weight'], torch.arange(3.0))
    hub = MessageHub('resumed')
    hub.load_state_dict(content['message_hub'])
    history = hub.get_scalar('train/loss')
    assert [column.tolist() for column in history.data] == [
        [0.0, 1.0, 2.0, 3.0],
        [2.0, 2.0, 2.0, 2.0],
    ]
    assert history.statistics('mean') == 6 / 8
    assert hub.get_info('best_score') == 61.5
    assert methods == HistoryBuffer._statistics_methods


def test_python_text_that_a_resumed_run_would_execute_is_left_out(tmp_path):
    meta = {'epoch': 1, 'config': 'raise SystemExit', 'cfg': 'kept = 1'}
    torch.save({'state_dict': WEIGHTS, 'meta': meta}, tmp_path / 'a.pth')
    read = read_checkpoint(tmp_path / 'a.pth')['meta']
    assert read == {'epoch': 1, 'cfg': 'kept = 1'}


def test_safetensors_and_a_bare_state_dict_are_checkpoints(tmp_path):
    save_file(WEIGHTS, tmp_path / 'a.safetensors', {'format': 'pt'})
    torch.save(WEIGHTS, tmp_path / 'a.pth')
    for name in ('a.safetensors', 'a.pth'):
        (weight,) = read_checkpoint(tmp_path / name)['state_dict'].values()
        assert weight.tolist() == [0.0, 1.0, 2.0]


@pytest.mark.parametrize('name', ['a.pth', 'a.safetensors'])
@pytest.mark.parametrize(
    'data', [b'', b'abc', b'\x80\x02}q\x00.', b'PK\x03\x04' + bytes(99)]
)
def test_what_is_no_checkpoint_is_one_message(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(SetupError, match=name) as error:
        read_checkpoint(tmp_path / name)
    assert 'trust' not in str(error.value)


def test_a_cut_checkpoint_and_other_content_are_named(tmp_path):
    path = tmp_path / 'a.pth'
    torch.save({'state_dict': WEIGHTS}, path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(SetupError, match='damaged'):
        read_checkpoint(path)
    torch.save([1, 2], path)
    with pytest.raises(SetupError, match='it holds a list'):
        read_checkpoint(path)
    with pytest.raises(SetupError, match='there is no checkpoint'):
        read_checkpoint(tmp_path / 'gone.pth')


def to_openai(state):
    """OpenAI's names and shapes of a state dict of transformers' CLIP."""
    towers = [
        ('vision_model.', 'visual.'),
        ('text_model.', ''),
        ('encoder.layers.', 'transformer.resblocks.'),
        ('embeddings.patch_embedding', 'conv1'),
        ('embeddings.class_embedding', 'class_embedding'),
        ('embeddings.position_embedding.weight', 'positional_embedding'),
        ('embeddings.token_embedding', 'token_embedding'),
        ('pre_layrnorm', 'ln_pre'),
        ('post_layernorm', 'ln_post'),
        ('final_layer_norm', 'ln_final'),
        ('layer_norm', 'ln_'),
        ('mlp.fc1', 'mlp.c_fc'),
        ('mlp.fc2', 'mlp.c_proj'),
        ('self_attn', 'attn'),
    ]
    renamed = {}
    for name, tensor in state.items():
        for old, new in towers:
            name = name.replace(old, new)
        if '.q_proj.' in name:
            start = name.replace('q_proj.', 'in_proj_')
            originals = [each for each in state if state[each] is tensor]
            parts = [
                state[originals[0].replace('q_proj', f'{part}_proj')]
                for part in 'qkv'
            ]
            renamed[start] = torch.cat(parts)
        elif name in ('text_projection.weight', 'visual_projection.weight'):
            short = {'text': 'text_projection', 'visu': 'visual.proj'}
            renamed[short[name[:4]]] = tensor.mT.contiguous()
        elif '_proj.' not in name or 'out_proj' in name or 'c_proj' in name:
            renamed[name] = tensor
    return renamed


@pytest.mark.parametrize(
    'prefix', ['', 'clip.', 'module.clip.', 'model.module.']
)
def test_names_of_openai_and_clip4clip_become_those_of_the_encoders(
    tiny_clip, prefix
):
    from transformers import CLIPModel

    theirs = CLIPModel.from_pretrained(tiny_clip).state_dict()
    ours = {}
    for name in theirs:
        if 'position_ids' in name:
            continue
        tower = 'text' if name.startswith('text') else 'frame'
        ours[f'{tower}_encoder.clip.{name}'] = theirs[name]
    ours['logit_scale.log'] = ours.pop('frame_encoder.clip.logit_scale')
    ours['partial_loss.extra'] = torch.zeros(2)
    file = {prefix + name: each for name, each in to_openai(theirs).items()}
    file[f'{prefix}transformerClip.ln.weight'] = torch.zeros(3)
    fit = fit_weights(file, ours)
    assert fit.missing == ['partial_loss.extra']
    assert fit.unused == [f'{prefix}transformerClip.ln.weight']
    assert 'OpenAI' in fit.mapping
    for name, tensor in fit.weights.items():
        assert torch.equal(tensor, ours[name]), name


@pytest.mark.parametrize('prefix', ['', 'module.', 'model.', '_orig_mod.'])
def test_prefixes_of_wrappers_are_removed_and_named(prefix):
    ours = {'text_encoder.a': torch.ones(2), 'head.model.b': torch.ones(1)}
    fit = fit_weights({prefix + name: ours[name] for name in ours}, ours)
    assert (fit.missing, fit.unused) == ([], [])
    assert fit.has_encoder
    assert prefix in fit.mapping


def test_other_shapes_and_names_do_not_fit():
    ours = {'text_encoder.a': torch.ones(2), 'head.b': torch.ones(1)}
    fit = fit_weights({'text_encoder.a': torch.ones(3), **WEIGHTS}, ours)
    assert fit.weights == {}
    assert not fit.has_encoder
    fit = fit_weights({'head.b': torch.ones(1)}, ours)
    assert not fit.has_encoder
    assert 'text_encoder.a' in fit.describe('x.pth')


def test_weights_below_a_key_of_others_are_found(tmp_path):
    path = tmp_path / 'x.pth'
    torch.save(dict(model_state_dict=WEIGHTS, epoch=3), path)
    assert list(read_checkpoint(path)['state_dict']) == ['head.weight']


def write_torchscript(path):
    module = torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2))
    torch.jit.save(module, str(path))


FILES = {
    'TorchScript archive': write_torchscript,
    'bare pickle': lambda path: path.write_bytes(pickle.dumps({'a': [1]})),
    'Git LFS': lambda path: path.write_bytes(
        b'version https://git-lfs.github.com/spec/v1\noid sha256:0\n'
    ),
    'web site': lambda path: path.write_bytes(b'<!DOCTYPE html><html></html>'),
    'JSON': lambda path: path.write_bytes(b'{"a": 1}'),
}


@pytest.mark.filterwarnings('ignore::DeprecationWarning')
@pytest.mark.parametrize('kind', FILES)
def test_common_files_are_recognised_without_forbidden_advice(tmp_path, kind):
    path = tmp_path / 'ViT-B-32.pt'
    FILES[kind](path)
    with pytest.raises(SetupError, match=kind) as error:
        read_checkpoint(path)
    assert 'damaged' not in str(error.value)
    assert 'weights_only' not in str(error.value)
