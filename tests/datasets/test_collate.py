"""Batches that leave a worker in few tensors."""

import torch
from mmaction.structures import ActionDataSample
from mmengine.dataset import pseudo_collate

from mmtvr.datasets import stack_samples
from mmtvr.models import TextVideoPreprocessor


def samples(captions):
    return [
        dict(
            inputs=dict(
                frames=torch.full((2, 3, 4, 4), i, dtype=torch.uint8),
                frame_mask=torch.ones(2).bool(),
                tokens=torch.full((count, 5), i),
                token_mask=torch.ones(count, 5).bool(),
            ),
            data_samples=ActionDataSample(metainfo=dict(video_id=i)),
        )
        for i, count in enumerate(captions)
    ]


def test_equal_shapes_are_stacked_and_others_stay_lists():
    batch = stack_samples(samples((1, 3)))
    assert batch['inputs']['frames'].shape == (2, 2, 3, 4, 4)
    assert [len(tokens) for tokens in batch['inputs']['tokens']] == [1, 3]
    assert [s.video_id for s in batch['data_samples']] == [0, 1]


def test_preprocessor_makes_the_same_of_stacked_samples():
    for captions in ((1, 1, 1), (1, 3), (2, 2)):
        lists = TextVideoPreprocessor()(pseudo_collate(samples(captions)))
        stacked = TextVideoPreprocessor()(stack_samples(samples(captions)))
        for key, value in lists['inputs'].items():
            assert torch.equal(value, stacked['inputs'][key]), key
