"""The whole model on a batch with two captions of one video."""

import pytest
import torch
from mmaction.structures import ActionDataSample
from mmengine.registry import init_default_scope

from mmtvr.models import TextVideoRetriever
from mmtvr.models.retriever import LogitScale
from mmtvr.registry import MODELS

WIDTH, WORDS, FRAMES = 32, 6, 3


def build(tiny_clip, **changes):
    config = dict(
        type='mmtvr.TextVideoRetriever',
        text_encoder=dict(type='mmtvr.CLIPTextEncoder', clip=str(tiny_clip)),
        frame_encoder=dict(type='mmtvr.CLIPFrameEncoder', clip=str(tiny_clip)),
        temporal=dict(
            type='mmtvr.FrameTransformer', embed_dims=WIDTH, num_layers=1
        ),
        head=dict(type='mmtvr.DMAEHead', embed_dims=WIDTH),
        contrastive_loss=dict(type='mmtvr.NegNCELoss'),
        partial_loss=dict(
            type='mmtvr.TPMCLLoss',
            embed_dims=WIDTH,
            max_words=WORDS,
            max_frames=FRAMES,
        ),
    )
    init_default_scope('mmtvr')
    torch.manual_seed(0)
    return MODELS.build({**config, **changes})


def batch(captions=(1, 2, 1), video_ids=(4, 9, 9), seed=0):
    """Three videos, two of them the same, with four captions."""
    generator = torch.Generator().manual_seed(seed)
    inputs = {
        k: []
        for k in (
            'frames',
            'frame_mask',
            'tokens',
            'token_mask',
            'token_weight',
            'cut_pieces',
        )
    }
    samples = []
    for count, video_id in zip(captions, video_ids, strict=True):
        inputs['frames'].append(
            torch.randint(256, (FRAMES, 3, 32, 32), generator=generator).byte()
        )
        inputs['frame_mask'].append(torch.tensor([1, 1, video_id % 2]).bool())
        tokens = torch.randint(200, (count, WORDS), generator=generator)
        mask = torch.ones(count, WORDS).bool()
        mask[:, 4:] = False
        inputs['tokens'].append(tokens)
        inputs['token_mask'].append(mask)
        inputs['token_weight'].append(mask.float() * (1 + (tokens % 2)))
        inputs['cut_pieces'].append(torch.arange(count))
        samples.append(ActionDataSample(metainfo=dict(video_id=video_id)))
    return dict(inputs=inputs, data_samples=samples)


def test_loss_adds_up_and_reaches_every_parameter(tiny_clip):
    model = build(tiny_clip)
    data = model.data_preprocessor(batch(), True)
    losses = model(**data, mode='loss')
    total, log = model.parse_losses(losses)
    torch.testing.assert_close(
        total, losses['loss_contrastive'] + losses['loss_partial']
    )
    assert losses['logit_scale'] == pytest.approx(100.0)
    assert losses['cut_captions'] == 0.25
    assert {'hard_negatives_per_row', 'active_frames'} <= set(log)
    total.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_captions_of_one_video_are_positives_not_negatives(tiny_clip):
    seen = []

    class Spy(torch.nn.Module):
        def forward(self, sim, match, scale):
            seen.append(match)
            return sim.sum() * 0

    model = build(tiny_clip, contrastive_loss=Spy(), partial_loss=None)
    model(**model.data_preprocessor(batch()), mode='loss')
    assert seen[0].tolist() == [
        [True, False, False],
        [False, True, True],
        [False, True, True],
        [False, True, True],
    ]


def test_predict_hands_each_sample_its_own_features(tiny_clip):
    model = build(tiny_clip).eval()
    data = model.data_preprocessor(batch())
    text, video = model(**data, mode='tensor')
    samples = model(**data, mode='predict')
    assert [len(s.text_features.tokens) for s in samples] == [1, 2, 1]
    joined = torch.cat([s.text_features.pooled for s in samples])
    assert torch.equal(joined, text.pooled)
    assert torch.equal(samples[1].video_features.tokens, video.tokens[1:2])
    assert not samples[0].video_features.tokens.requires_grad


def test_training_and_evaluation_see_the_same_similarity(tiny_clip):
    model = build(tiny_clip)
    data = model.data_preprocessor(batch())
    train = model.similarity(*model.train()(**data, mode='tensor'))
    evaluation = model.similarity(*model.eval()(**data, mode='tensor'))
    torch.testing.assert_close(train, evaluation, rtol=0, atol=1e-6)
    plain = dict(data['inputs'])
    del plain['token_weight']
    without = model.similarity(*model(plain, mode='tensor'))
    assert (without - evaluation).abs().max() > 1e-4


def test_autocast_gives_finite_losses_and_float32_features(tiny_clip):
    model = build(tiny_clip)
    data = model.data_preprocessor(batch())
    with torch.autocast('cpu', dtype=torch.bfloat16):
        text, video = model(**data, mode='tensor')
        losses = model(**data, mode='loss')
    assert text.tokens.dtype == video.tokens.dtype == torch.float32
    assert all(torch.isfinite(value) for value in losses.values())
    model.parse_losses(losses)[0].backward()


def test_unknown_mode_is_refused(tiny_clip):
    model = build(tiny_clip)
    with pytest.raises(ValueError, match="not 'losses'"):
        model(**model.data_preprocessor(batch()), mode='losses')


def test_logit_scale_is_capped_but_not_stuck():
    scale = LogitScale(init=100.0, max=100.0)
    with torch.no_grad():
        scale.log.add_(1.0)
    value = scale()
    assert value.item() == pytest.approx(100.0)
    value.backward()
    assert scale.log.grad.item() == pytest.approx(100.0)
    assert not LogitScale(learnable=False).log.requires_grad
    with pytest.raises(ValueError, match='init=200'):
        LogitScale(init=200.0)


def test_modules_are_taken_as_well_as_configs(tiny_clip):
    parts = build(tiny_clip)
    model = TextVideoRetriever(
        parts.text_encoder,
        parts.frame_encoder,
        parts.head,
        parts.contrastive_loss,
    )
    losses = model(**model.data_preprocessor(batch()), mode='loss')
    assert 'loss_partial' not in losses


def test_video_colbert_trains_both_levels_and_expands_queries(tiny_clip):
    model = build(
        tiny_clip,
        text_encoder=dict(
            type='mmtvr.CLIPTextEncoder',
            clip=str(tiny_clip),
            query_expansion=True,
        ),
        temporal=None,
        head=dict(
            type='mmtvr.VideoColBERTHead',
            embed_dims=WIDTH,
            temporal=dict(type='mmtvr.FrameTransformer', num_layers=1),
        ),
        contrastive_loss=dict(type='mmtvr.DualSigmoidLoss'),
        partial_loss=None,
    )
    data = model.data_preprocessor(batch(), True)
    text, video = model(**data, mode='tensor')
    assert text.mask.all()
    real = data['inputs']['token_mask']
    assert (text.weight[~real] == 1).all()

    losses = model(**data, mode='loss')

    inputs = data['inputs']
    ids = inputs['video_ids']
    match = ids[inputs['video_of_text']][:, None] == ids
    want = sum(
        model.contrastive_loss(part, match, model.logit_scale())
        for part in model.head.parts(text, video).values()
    )
    torch.testing.assert_close(losses['loss_contrastive'], want)
    row = torch.tensor([0])
    found = model.explain(text.select(row), video.select(row), ['a'] * 4)
    assert found.words[4:] == ('[padding]', '[padding]')
