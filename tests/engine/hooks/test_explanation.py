import pytest
import torch
from mmengine.runner import Runner

from mmtvr.engine import ExplanationHook
from mmtvr.errors import SetupError


class Dataset:
    """Two samples of the tiny CLIP: noise and a caption."""

    metainfo = {}

    def __init__(self, tiny_clip):
        from mmtvr.datasets.transforms import PackTextVideo, TokenizeText

        self.pipeline = [
            TokenizeText(str(tiny_clip), max_words=8),
            PackTextVideo(),
        ]

    def __len__(self):
        return 2

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        frames = torch.randint(256, (3, 3, 32, 32), generator=generator)
        sample = dict(
            text=['a $red$ dog', 'a man'],
            imgs=frames.byte().numpy(),
            filename=f'/videos/{index}.mp4',
            video_id=index,
            sample_idx=index,
        )
        for transform in self.pipeline:
            sample = transform(sample)
        return sample


@pytest.fixture
def make_runner(tiny_clip, tmp_path):
    def make(hook, backends):
        loader = dict(
            dataset=Dataset(tiny_clip),
            batch_size=2,
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='pseudo_collate'),
        )
        clip = str(tiny_clip)
        model = dict(
            type='mmtvr.TextVideoRetriever',
            text_encoder=dict(type='mmtvr.CLIPTextEncoder', clip=clip),
            frame_encoder=dict(type='mmtvr.CLIPFrameEncoder', clip=clip),
            head=dict(type='mmtvr.CosineHead'),
            contrastive_loss=dict(type='mmtvr.InfoNCELoss'),
        )
        return Runner(
            model,
            work_dir=str(tmp_path / 'work'),
            experiment_name=tmp_path.name,
            train_dataloader=loader,
            val_dataloader=loader,
            train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=2),
            val_cfg=dict(type='mmtvr.RetrievalValLoop'),
            val_evaluator=dict(type='mmtvr.TextVideoRecall'),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
            custom_hooks=[hook],
            visualizer=dict(
                type='Visualizer',
                name=tmp_path.name,
                vis_backends=[dict(type=each) for each in backends],
            ),
            default_hooks=dict(checkpoint=None),
            default_scope='mmtvr',
            log_level='WARNING',
        )

    return make


def test_pictures_go_to_the_visualiser(make_runner, tmp_path):
    hook = dict(type='mmtvr.ExplanationHook', samples=(0, 1), interval=2)
    make_runner(hook, ['LocalVisBackend']).train()
    pictures = sorted(tmp_path.glob('work/*/vis_data/vis_image/*'))
    # The second validation comes after two iterations.
    names = [path.name for path in pictures]
    assert names == ['explanation_0_2.png', 'explanation_1_2.png']
    assert pictures[0].read_bytes() != pictures[1].read_bytes()


def test_pictures_go_to_tensorboard(make_runner, tmp_path):
    pytest.importorskip('tensorboard')
    from tensorboard.backend.event_processing.event_accumulator import (
        EventAccumulator,
    )

    hook = dict(type='mmtvr.ExplanationHook', dpi=40)
    make_runner(hook, ['TensorboardVisBackend']).train()
    (events,) = tmp_path.glob('work/*/vis_data/events*')
    log = EventAccumulator(str(events), dict(images=0)).Reload()
    images = log.Images('explanation_0')
    assert [image.step for image in images] == [1, 2]
    assert images[0].width == 400


def test_a_wrong_sample_is_named_before_training(make_runner):
    runner = make_runner(
        dict(type='mmtvr.ExplanationHook', samples=(1, 2)), []
    )
    with pytest.raises(SetupError, match='has 2 samples, counted from 0'):
        runner.train()


def test_training_without_validation_is_refused(make_runner):
    runner = make_runner(dict(type='mmtvr.TrainingStatsHook'), [])
    runner._val_loop = None
    with pytest.raises(SetupError, match='no val_dataloader'):
        ExplanationHook().before_train(runner)
