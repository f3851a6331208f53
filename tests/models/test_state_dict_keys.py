"""Weights keep their names and shapes, so that old checkpoints load.

``tests/data/state_dict_keys.json`` was written by version 0.1 before its
modules were rearranged. CLIP's own names, which transformers gives, are not in
it.
"""

import json
from pathlib import Path

import pytest
import torch
from mmengine.registry import init_default_scope

from mmtvr.registry import MODELS

PATH = Path(__file__).parents[1] / 'data' / 'state_dict_keys.json'
PARTS = json.loads(PATH.read_text())
CLIP = 'mmtvr://moving-shapes-clip'
OPTIONS = {
    'BackboneFrameEncoder': dict(backbone=torch.nn.Identity()),
    'TextVideoRetriever': dict(
        text_encoder=dict(type='mmtvr.CLIPTextEncoder', clip=CLIP),
        frame_encoder=dict(type='mmtvr.CLIPFrameEncoder', clip=CLIP),
        head=dict(type='mmtvr.DMAEHead', embed_dims=96, weighting='learned'),
        contrastive_loss=dict(type='mmtvr.NegNCELoss'),
        partial_loss=dict(type='mmtvr.TPMCLLoss', embed_dims=96),
    ),
}


@pytest.mark.parametrize('entry', PARTS, ids=lambda each: str(each['part']))
def test_weights_have_the_names_and_shapes_of_old_checkpoints(entry):
    init_default_scope('mmtvr')
    config = dict(entry['part'])
    config |= OPTIONS.get(config['type'], {})
    model = MODELS.build({**config, 'type': f'mmtvr.{config["type"]}'})
    weights = {
        name: list(tensor.shape)
        for name, tensor in model.state_dict().items()
        if '.clip.' not in name
    }
    assert weights == entry['weights']
