"""Videos with fewer frames than asked for, from the file to the gradient."""

import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope

from mmtvr.registry import DATASETS, MODELS

WIDTH, WORDS, ASKED, SHORT = 32, 8, 8, 3
HEADS = {
    'cosine': dict(type='mmtvr.CosineHead'),
    'dmae': dict(type='mmtvr.DMAEHead', embed_dims=WIDTH),
    'token_wise': dict(
        type='mmtvr.TokenWiseHead', embed_dims=WIDTH, weighting='learned'
    ),
    'xclip': dict(
        type='mmtvr.XCLIPHead',
        embed_dims=WIDTH,
        max_words=WORDS,
        max_frames=ASKED,
    ),
    'xpool': dict(type='mmtvr.XPoolHead', embed_dims=WIDTH),
}


@pytest.fixture(scope='module')
def load(tiny_videos, tiny_clip):
    """Function from a number of frames to the dataset that asks for it."""
    init_default_scope('mmtvr')

    def build(num_frames):
        return DATASETS.build(
            dict(
                type='mmtvr.TextVideoDataset',
                data_root=str(tiny_videos),
                ann_file='test_JSFUSION.json',
                pipeline=[
                    dict(
                        type='mmtvr.LoadVideoFrames',
                        num_frames=num_frames,
                        short_side=32,
                        short_videos='mask',
                        time_limit=None,
                        test_mode=True,
                    ),
                    dict(type='mmaction.Resize', scale=(-1, 32)),
                    dict(type='mmaction.CenterCrop', crop_size=32),
                    dict(type='mmaction.FormatShape', input_format='NCHW'),
                    dict(
                        type='mmtvr.TokenizeText',
                        tokenizer=str(tiny_clip),
                        max_words=WORDS,
                    ),
                    dict(type='mmtvr.PackTextVideo'),
                ],
                test_mode=True,
            )
        )

    return build


@pytest.fixture(scope='module')
def padded(load):
    """Three samples of eight frames; five in one of them are real."""
    dataset = load(ASKED)
    return [dataset[number] for number in (2, SHORT, 0)]


def make_model(tiny_clip, head, **changes):
    torch.manual_seed(0)
    config = dict(
        type='mmtvr.TextVideoRetriever',
        text_encoder=dict(type='mmtvr.CLIPTextEncoder', clip=str(tiny_clip)),
        frame_encoder=dict(type='mmtvr.CLIPFrameEncoder', clip=str(tiny_clip)),
        temporal=dict(
            type='mmtvr.FrameTransformer', embed_dims=WIDTH, num_layers=1
        ),
        head=HEADS[head],
        contrastive_loss=dict(type='mmtvr.NegNCELoss'),
        **changes,
    )
    return MODELS.build(config)


@pytest.mark.parametrize('head', HEADS)
def test_masked_video_is_that_of_its_real_frames(
    load, padded, tiny_clip, head
):
    model = make_model(tiny_clip, head).eval()
    alone = pseudo_collate([load(5)[SHORT]])
    with torch.no_grad():
        text, videos = model(
            **model.data_preprocessor(pseudo_collate(padded)), mode='tensor'
        )
        _, video = model(**model.data_preprocessor(alone), mode='tensor')
        together = model.similarity(text, videos)[:, 1:2]
        single = model.similarity(text, video)
    assert videos.mask.sum(dim=1).tolist() == [8, 5, 8]
    assert video.mask.all()
    torch.testing.assert_close(videos.tokens[1, :5], video.tokens[0])
    torch.testing.assert_close(videos.pooled[1], video.pooled[0])
    torch.testing.assert_close(together, single)


@pytest.mark.parametrize('head', HEADS)
def test_what_stands_in_padding_changes_no_loss_and_no_gradient(
    padded, tiny_clip, head
):
    model = make_model(
        tiny_clip,
        head,
        partial_loss=dict(
            type='mmtvr.TPMCLLoss',
            embed_dims=WIDTH,
            max_words=WORDS,
            max_frames=ASKED,
        ),
    ).eval()
    results = []
    for content in (0, 200):
        batch = model.data_preprocessor(pseudo_collate(padded))
        batch['inputs']['frames'][1, 5:] = content
        torch.manual_seed(0)
        loss, _ = model.parse_losses(model(**batch, mode='loss'))
        model.zero_grad()
        loss.backward()
        gradients = [
            parameter.grad.clone()
            for parameter in model.parameters()
            if parameter.grad is not None
        ]
        assert loss.isfinite()
        assert all(gradient.isfinite().all() for gradient in gradients)
        assert sum(g.abs().sum() for g in gradients) > 0
        results.append([loss.detach(), *gradients])
    torch.testing.assert_close(*results)
