"""Checkpoints of others: weights come in, code does not run."""

import os
import pickle

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub
from safetensors.torch import save_file

from mmtvr.checkpoints import read_checkpoint
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
