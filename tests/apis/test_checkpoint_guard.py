"""mmengine's own ways to a checkpoint go through the safe reader."""

import os
import re
from pathlib import Path

import pytest
import torch
from mmengine.runner import CheckpointLoader, load_checkpoint
from safetensors.torch import save_file
from torch import nn

from mmtvr.checkpoints import guard_loading, read_checkpoint, set_trust
from mmtvr.errors import SetupError

ROOT = Path(__file__).resolve().parents[2]


class Evil:
    """Unpickling it would make a file."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f'touch {self.marker}',)


@pytest.fixture(autouse=True)
def _loaders_put_back(monkeypatch):
    monkeypatch.setattr(
        CheckpointLoader, '_schemes', CheckpointLoader._schemes.copy()
    )
    yield
    set_trust(False)


@pytest.mark.parametrize('trusted', [False, True])
def test_load_checkpoint_runs_code_only_when_trusted(tmp_path, trusted):
    path, marker = tmp_path / 'a.pth', tmp_path / 'marker'
    weights = nn.Linear(2, 1).state_dict()
    torch.save({'state_dict': weights, 'x': Evil(marker)}, path)
    guard_loading(trusted)
    model = nn.Linear(2, 1)
    if trusted:
        load_checkpoint(model, str(path))
        assert torch.equal(model.weight, weights['weight'])
    else:
        with pytest.raises(SetupError, match='would run code'):
            load_checkpoint(model, str(path))
    assert marker.exists() == trusted


def test_the_decision_holds_wherever_a_checkpoint_is_read(tmp_path):
    path, marker = tmp_path / 'a.pth', tmp_path / 'marker'
    torch.save({'state_dict': {}, 'x': Evil(marker)}, path)
    guard_loading()
    with pytest.raises(SetupError, match='would run code'):
        read_checkpoint(path)
    guard_loading(True)
    guard_loading()
    with pytest.raises(SetupError, match='would run code'):
        read_checkpoint(path, trust=False)
    assert not marker.exists()
    read_checkpoint(path)
    assert marker.exists()


def test_safetensors_load_through_mmengine(tmp_path):
    weights = nn.Linear(2, 1).state_dict()
    save_file(weights, tmp_path / 'a.safetensors')
    guard_loading()
    model = nn.Linear(2, 1)
    load_checkpoint(model, str(tmp_path / 'a.safetensors'), strict=True)
    assert torch.equal(model.weight, weights['weight'])


def test_a_web_address_is_fetched_once_and_read_safely(tmp_path, monkeypatch):
    marker, calls = tmp_path / 'marker', []

    def fetch(address, path):
        calls.append(address)
        torch.save({'state_dict': Evil(marker)}, path)

    monkeypatch.setattr(torch.hub, 'download_url_to_file', fetch)
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    guard_loading()
    for _ in range(2):
        with pytest.raises(SetupError, match='would run code'):
            CheckpointLoader.load_checkpoint('https://h.org/a.pth?x=1')
    assert calls == ['https://h.org/a.pth?x=1']
    assert not marker.exists()


@pytest.mark.parametrize('address', ['s3://a/b.pth', 'open-mmlab://resnet50'])
def test_loaders_that_unpickle_are_refused(address):
    guard_loading()
    with pytest.raises(SetupError, match='Fetch the file'):
        CheckpointLoader.load_checkpoint(address)


def test_each_command_that_loads_a_checkpoint_guards_it():
    loads = re.compile(r'\bload_checkpoint\(|\bbuild_runner\(|torch\.load\(')
    for path in (ROOT / 'tools').rglob('*.py'):
        text = path.read_text(encoding='utf-8')
        if loads.search(text):
            assert 'guard_loading(args.trust_checkpoint)' in text, path
