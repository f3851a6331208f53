"""Backbones as frame encoders, here small stand-ins of the same shapes."""

import pytest
import torch
from torch import nn

from mmtvr.errors import SetupError
from mmtvr.models import BackboneFrameEncoder

MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]]).bool()


def test_2d_backbone_gives_a_token_per_frame():
    encoder = BackboneFrameEncoder(nn.Conv2d(3, 5, 3), 5, embed_dims=8)
    frames = torch.randn(2, 4, 3, 9, 9)
    features = encoder(frames, MASK)
    assert features.tokens.shape == (2, 4, 8)
    assert features.mask is MASK
    torch.testing.assert_close(features.tokens.norm(dim=-1), torch.ones(2, 4))
    alone = encoder(frames[1:], MASK[1:])
    torch.testing.assert_close(alone.pooled, features.pooled[1:])


def test_3d_backbone_may_shorten_time():
    backbone = nn.Conv3d(3, 5, (2, 3, 3), stride=(2, 1, 1))
    encoder = BackboneFrameEncoder(backbone, 5, 8, input_format='NCTHW')
    features = encoder(torch.randn(2, 4, 3, 9, 9), MASK)
    assert features.tokens.shape == (2, 2, 8)
    assert features.mask.tolist() == [[True, True], [True, False]]


def test_misfits_name_the_setting():
    frames = torch.randn(2, 4, 3, 9, 9)
    encoder = BackboneFrameEncoder(nn.Conv2d(3, 5, 3), 6)
    with pytest.raises(SetupError, match='in_channels=6'):
        encoder(frames, MASK)
    encoder = BackboneFrameEncoder(nn.Conv2d(3, 5, 3), 5)
    encoder.backbone.num_segments = 8
    with pytest.raises(SetupError, match=r'num_segments=8.*4 frames'):
        encoder(frames, MASK)
    with pytest.raises(ValueError, match='input_format'):
        BackboneFrameEncoder(nn.Conv2d(3, 5, 3), 5, input_format='NTCHW')
