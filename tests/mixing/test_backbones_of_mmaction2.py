"""Backbones of mmaction2 as frame encoders of our retriever."""

import pytest
import torch
from mmengine.registry import init_default_scope

from mmtvr.registry import MODELS

pytestmark = pytest.mark.usefixtures('mmaction_models')
BACKBONES = {
    'resnet': dict(
        backbone=dict(type='mmaction.ResNet', depth=18, pretrained=None),
        in_channels=512,
    ),
    'tsm': dict(
        backbone=dict(
            type='mmaction.ResNetTSM',
            depth=18,
            num_segments=4,
            pretrained2d=False,
        ),
        in_channels=512,
    ),
}


@pytest.mark.parametrize('scope', ['mmtvr', 'mmaction'])
@pytest.mark.parametrize('name', ['resnet', 'tsm'])
def test_backbone_trains_in_the_retriever(name, scope, tiny_clip):
    init_default_scope(scope)
    model = MODELS.build(
        dict(
            type='mmtvr.TextVideoRetriever',
            text_encoder=dict(
                type='mmtvr.CLIPTextEncoder', clip=str(tiny_clip)
            ),
            frame_encoder=dict(
                type='mmtvr.BackboneFrameEncoder',
                embed_dims=32,
                **BACKBONES[name],
            ),
            head=dict(type='mmtvr.DMAEHead', embed_dims=32),
            contrastive_loss=dict(type='mmtvr.NegNCELoss'),
        )
    )
    # As a runner does.
    model.init_weights()
    inputs = dict(
        frames=torch.randn(2, 4, 3, 32, 32),
        frame_mask=torch.ones(2, 4).bool(),
        tokens=torch.randint(200, (2, 6)),
        token_mask=torch.ones(2, 6).bool(),
        video_of_text=torch.arange(2),
        video_ids=torch.arange(2),
    )
    total, _ = model.parse_losses(model(inputs, mode='loss'))
    total.backward()
    gradient = model.frame_encoder.backbone.conv1.conv.weight.grad
    assert gradient.abs().sum() > 0
