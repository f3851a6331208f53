"""Single parts of ours in configs with ``default_scope='mmaction'``."""

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import Evaluator
from mmengine.registry import DATASETS, DefaultScope, init_default_scope
from mmengine.registry import MODELS as ROOT_MODELS
from torch.nn.functional import normalize

from mmtvr.structures import TokenFeatures


@pytest.fixture(autouse=True)
def mmaction_scope():
    init_default_scope('mmaction')
    yield
    assert DefaultScope.get_current_instance().scope_name == 'mmaction'


@pytest.mark.usefixtures('mmaction_models')
def test_dmae_head_alone():
    config = Config(dict(head=dict(type='mmtvr.DMAEHead', embed_dims=8)))
    head = ROOT_MODELS.build(config.head)
    torch.manual_seed(0)
    words, frames = (normalize(torch.randn(n, 4, 8), dim=-1) for n in (2, 3))
    mask = torch.ones(3, 4).bool()
    sim = head(
        TokenFeatures(words, mask[:2], words[:, 0]),
        TokenFeatures(frames, mask, frames[:, 0]),
    )
    assert sim.shape == (2, 3)


def test_dataset_alone_with_transforms_of_mmaction2(small_set):
    config = Config(
        dict(
            type='mmtvr.TextVideoDataset',
            data_root=str(small_set),
            ann_file='annotations.json',
            data_prefix=dict(video='videos'),
            pipeline=[
                dict(type='DecordInit'),
                dict(type='UniformSample', clip_len=4, num_clips=1),
                dict(type='DecordDecode'),
                dict(type='Resize', scale=(-1, 32)),
                dict(type='CenterCrop', crop_size=32),
                dict(type='FormatShape', input_format='NCHW'),
                dict(
                    type='PackActionInputs',
                    meta_keys=('filename', 'text', 'video_id'),
                ),
            ],
        )
    )
    dataset = DATASETS.build(config)
    assert len(dataset) == 4
    batch = pseudo_collate([dataset[0], dataset[3]])
    assert batch['inputs'][0].shape == (4, 3, 32, 32)
    assert batch['data_samples'][1].text == 'the dog is red'
    assert batch['data_samples'][1].video_id == 3


def test_metric_alone():
    evaluator = Evaluator([dict(type='mmtvr.TextVideoRecall')])
    features = torch.eye(3)
    evaluator.process(
        [
            dict(features=dict(text_feature=row, video_feature=row))
            for row in features
        ]
    )
    metrics = evaluator.evaluate(3)
    assert metrics['retrieval/R1'] == 100.0
    assert metrics['retrieval/v2t_MnR'] == 1.0
