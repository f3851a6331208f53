"""A model without weights and a test set of random features."""

import pytest
import torch
from mmaction.structures import ActionDataSample
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import distributed as dist
from torch.utils.data import Dataset

from mmtvr.structures import TokenFeatures

WORDS, FRAMES, WIDTH = 5, 4, 8


class FeatureDataset(Dataset):
    """Videos with 1 to 3 captions, features drawn by the sample's number."""

    metainfo = {}

    def __init__(self, size):
        self.size = size

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        captions = 1 + index % 3
        video = torch.randn(FRAMES, WIDTH, generator=generator)
        noise = torch.randn(captions, WORDS, WIDTH, generator=generator)
        sample = ActionDataSample()
        sample.set_metainfo(
            dict(
                video_id=100 + index,
                sample_idx=index,
                filename=f'{index}.mp4',
                text=[f'caption {i} of {index}' for i in range(captions)],
                cut_captions=int(index == 4),
            )
        )
        words = noise + 0.6 * video.mean(0)
        return dict(inputs=dict(words=words, video=video), data_samples=sample)


def unit_features(tokens):
    tokens = torch.nn.functional.normalize(tokens, dim=-1)
    return TokenFeatures(
        tokens,
        torch.ones(tokens.shape[:2], dtype=torch.bool),
        torch.nn.functional.normalize(tokens.mean(1), dim=-1),
    )


class FeatureModel(BaseModel):
    """Predict what the dataset holds; compare by the best frame per word."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, inputs, data_samples=None, mode='predict'):
        videos = unit_features(torch.stack(inputs['video']))
        for row, sample in enumerate(data_samples):
            sample.text_features = unit_features(inputs['words'][row])
            sample.video_features = TokenFeatures(
                *(field[row : row + 1] for field in videos[:3])
            )
        return data_samples

    def similarity(self, text, video):
        table = torch.einsum('bld,vfd->bvlf', text.tokens, video.tokens)
        table = table.masked_fill(~text.mask[:, None, :, None], 0)
        table = table.masked_fill(~video.mask[:, None, :], -1)
        return self.scale * table.amax(3).mean(2)


@pytest.fixture
def feature_dataset():
    return FeatureDataset


@pytest.fixture
def feature_model():
    return FeatureModel()


@pytest.fixture
def evaluate(tmp_path):
    """Run a test over the stand-in data set; returns its metrics."""

    def run(
        size=8, batch_size=3, metrics=(), sampler=None, hooks=None, **loop
    ):
        sampler = sampler or dict(type='DefaultSampler', shuffle=False)
        runner = Runner(
            FeatureModel(),
            work_dir=str(tmp_path / 'work'),
            test_dataloader=dict(
                dataset=FeatureDataset(size),
                batch_size=batch_size,
                sampler=sampler,
                collate_fn=dict(type='pseudo_collate'),
            ),
            test_evaluator=[dict(type='mmtvr.TextVideoRecall'), *metrics],
            test_cfg=dict(type='mmtvr.RetrievalTestLoop', **loop),
            custom_hooks=hooks,
            default_scope='mmtvr',
            experiment_name=f'{tmp_path.name}_{id(loop)}',
            log_level='WARNING',
            launcher='pytorch' if dist.is_initialized() else 'none',
            cfg=dict(
                model_wrapper_cfg=dict(
                    type='MMDistributedDataParallel', device_ids=None
                )
            ),
        )
        return runner.test()

    return run
