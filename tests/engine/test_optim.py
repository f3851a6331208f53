"""Four groups of parameters: slow or not, decayed or not."""

import pytest
from mmengine.optim import build_optim_wrapper
from torch import nn

from mmtvr.models.partial_order.importance import ImportancePredictor


def model():
    parts = nn.ModuleDict(
        dict(
            text_encoder=nn.Linear(2, 3),
            frame_encoder=nn.LayerNorm(3),
            head=nn.MultiheadAttention(4, 2),
        )
    )
    parts.text_encoder.bias.requires_grad_(False)
    return parts


def config(**paramwise):
    return dict(
        optimizer=dict(type='AdamW', lr=1e-4, weight_decay=0.2),
        constructor='mmtvr.TwoRateConstructor',
        paramwise_cfg=paramwise,
    )


def test_groups_by_rate_and_by_decay():
    wrapper = build_optim_wrapper(model(), config(slow_lr_mult=1e-3))
    found = {
        (round(group['lr'], 9), group['weight_decay']): sum(
            p.numel() for p in group['params']
        )
        for group in wrapper.optimizer.param_groups
    }
    assert found == {
        (1e-7, 0.2): 6,
        (1e-7, 0.0): 6,
        (1e-4, 0.2): 4 * 4 * 4,
        (1e-4, 0.0): 4 * 4,
    }


def test_norms_over_several_axes_have_no_decay():
    predictor = ImportancePredictor(8, max_keys=5, max_queries=3)
    options = config(slow=())
    wrapper = build_optim_wrapper(predictor, options)
    free, decayed = (
        {id(p) for p in group['params']}
        for group in sorted(
            wrapper.optimizer.param_groups,
            key=lambda group: group['weight_decay'],
        )
    )
    assert free == {id(predictor.norm_weight), id(predictor.norm_bias)}
    assert len(decayed) == 3


def test_prefix_of_nothing_is_an_error_that_lists_the_parts():
    with pytest.raises(ValueError, match=r"\['temporal'\].*frame_encoder"):
        build_optim_wrapper(model(), config(slow=['temporal']))


def test_unknown_key_is_an_error():
    with pytest.raises(ValueError, match='custom_keys'):
        build_optim_wrapper(model(), config(custom_keys={}))
