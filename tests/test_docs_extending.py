"""The head of docs/how-to/extending.md works as the page says."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest
import torch
from mmengine.registry import init_default_scope

import mmtvr.models.heads
from mmtvr.registry import MODELS

PAGE = Path(__file__).resolve().parents[1] / 'docs/how-to/extending.md'
NAME = 'FrameAttentionHead'


@pytest.fixture
def blocks():
    return re.findall(r'```python\n(.*?)```', PAGE.read_text(), re.DOTALL)


@pytest.fixture
def added(blocks, tmp_path, monkeypatch):
    """The head, from its file and by its line in ``__init__.py``."""
    path = tmp_path / 'frame_attention.py'
    path.write_text(blocks[0])
    name = 'mmtvr.models.heads.frame_attention'
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    head = getattr(module, NAME)
    monkeypatch.setattr(mmtvr.models.heads, NAME, head, raising=False)
    yield head
    MODELS.module_dict.pop(NAME)


def test_its_test_passes(added, blocks):
    names = {}
    exec(blocks[1], names)
    tests = [each for name, each in names.items() if name.startswith('test_')]
    assert tests
    for test in tests:
        test()


def test_padding_changes_nothing(added, random_features):
    head, (text, video) = added(), random_features
    sim = head(text, video)
    video.tokens[0, 2:] = float('nan')
    video.mask[0, 2:] = False
    shorter = video.select(slice(0, 1)).map(
        lambda x: x[:, :2] if x.shape[1] == 4 else x
    )
    padded = head(text, video)
    torch.testing.assert_close(padded[:, :1], head(text, shorter))
    torch.testing.assert_close(padded[:, 1:], sim[:, 1:])


@pytest.fixture
def random_features():
    from mmtvr.ops import features_of_frames

    torch.manual_seed(0)
    real = torch.ones(3, 4, dtype=torch.bool)
    return [features_of_frames(torch.randn(3, 4, 8), real) for _ in range(2)]


def test_it_trains_by_its_name_in_a_config(added, blocks):
    init_default_scope('mmtvr')
    torch.manual_seed(0)
    names = {}
    exec(blocks[2], names)
    exec(blocks[3], names)
    assert isinstance(names['model'].head, added)
    assert names['model'].head.temperature == 0.05
    assert names['losses']['loss'].isfinite()
    before = {
        name: each.clone() for name, each in names['model'].named_parameters()
    }
    names['model'].train_step(names['batch'], names['optimizer'])
    changed = [
        name
        for name, each in names['model'].named_parameters()
        if not torch.equal(each, before[name])
    ]
    assert any(name.startswith('text_encoder') for name in changed)
    assert any(name.startswith('frame_encoder') for name in changed)
