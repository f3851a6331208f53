"""Features that cannot be ranked are named by file and caption."""

import pytest
import torch

from mmtvr.engine.features import check_features
from mmtvr.errors import NonFiniteError
from mmtvr.structures import TokenFeatures

NAN = float('nan')


@pytest.fixture
def features():
    mask = torch.tensor([[True, True], [True, False]])
    return TokenFeatures(torch.ones(2, 2, 3), mask, torch.ones(2, 3))


def test_padding_may_hold_anything(features):
    features.tokens[1, 1] = NAN
    check_features(features, 'videos', ['a.mp4', 'b.mp4'])


@pytest.mark.parametrize('field', ['tokens', 'pooled'])
@pytest.mark.parametrize('value', [NAN, float('inf')])
def test_the_row_is_named(features, field, value):
    getattr(features, field)[1].view(-1)[0] = value
    with pytest.raises(NonFiniteError, match=r'1 of 2 videos.*: b\.mp4\.'):
        check_features(features, 'videos', ['a.mp4', 'b.mp4'])


def test_the_test_loop_names_file_and_caption(
    evaluate, feature_model, monkeypatch
):
    forward = type(feature_model).forward

    def spoiled(self, inputs, data_samples=None, mode='predict'):
        samples = forward(self, inputs, data_samples, mode)
        for sample in samples:
            if sample.filename == '5.mp4':
                sample.text_features.tokens[1, 0, 0] = NAN
        return samples

    monkeypatch.setattr(type(feature_model), 'forward', spoiled)
    with pytest.raises(NonFiniteError, match=r"'caption 1 of 5' of 5\.mp4"):
        evaluate()
