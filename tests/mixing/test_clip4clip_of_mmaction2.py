"""mmaction2's own CLIP4Clip config with our loss and metric, as documented."""

import re
import sys
import types
from pathlib import Path

import pytest
import torch
from mmengine.runner import Runner
from torch import nn

from mmtvr.config import load_config

PAGE = Path(__file__).resolve().parents[2] / 'docs/tutorials/mmaction2.md'
pytestmark = pytest.mark.usefixtures('mmaction_models')


class SmallCLIP(nn.Module):
    """The calls that mmaction2 makes of OpenAI's package."""

    def __init__(self):
        super().__init__()
        self.visual = nn.Linear(3, 8)
        self.words = nn.EmbeddingBag(200, 8)
        self.logit_scale = nn.Parameter(torch.tensor(2.0))

    def encode_image(self, image):
        return self.visual(image.mean(dim=(2, 3)))

    def encode_text(self, text):
        return self.words(text.long())


@pytest.fixture
def openai_clip(monkeypatch):
    """Stands in for the ``clip`` package, which PyPI does not have."""
    clip = types.ModuleType('clip')
    clip.load = lambda arch, device: (SmallCLIP(), None)
    clip.tokenize = lambda text: torch.tensor(
        [[ord(letter) % 200 for letter in text.ljust(9)[:9]]]
    )
    monkeypatch.setitem(sys.modules, 'clip', clip)


def test_only_loss_and_metric_are_ours(openai_clip, small_set, tmp_path):
    path = tmp_path / 'my_clip4clip.py'
    path.write_text(
        re.findall(r'```python\n(.*?)```', PAGE.read_text(), re.S)[0]
    )
    config = load_config(str(path), work_dir=str(tmp_path))
    config.model.frozen_layers = -1
    config.train_cfg.max_epochs = 1
    for loader in (config.train_dataloader, config.val_dataloader):
        loader.update(batch_size=2, num_workers=0, persistent_workers=False)
        loader.dataset.update(
            data_root=str(small_set), ann_file='annotations.json'
        )
        for transform in loader.dataset.pipeline:
            if transform['type'] == 'Resize':
                transform['scale'] = (-1, 32)
            if transform['type'] == 'CenterCrop':
                transform['crop_size'] = 32
    config.test_dataloader = config.val_dataloader
    runner = Runner.from_cfg(config)
    before = runner.model.clip.visual.weight.detach().clone()
    runner.train()
    assert type(runner.model.loss).__module__ == 'mmtvr.losses.neg_nce'
    assert runner.iter == 2
    assert not torch.equal(before, runner.model.clip.visual.weight)
    metrics = runner.val_loop.run()
    assert 0 <= metrics['retrieval/R1'] <= 100
    assert 1 <= metrics['retrieval/v2t_MnR'] <= 4
