"""What is removed must not be readable in what stays."""

import pytest
import torch
from mmengine.registry import init_default_scope

from mmtvr.errors import SetupError
from mmtvr.models import FrameTransformer, TokenWiseHead
from mmtvr.ops import features_of_frames
from mmtvr.ops.removal import remove_frames
from mmtvr.registry import MODELS
from mmtvr.structures import TokenFeatures

WIDTH, LENGTH, PAIRS = 32, 6, 20


@pytest.fixture(scope='module')
def model(tiny_clip):
    init_default_scope('mmtvr')
    torch.manual_seed(0)
    return MODELS.build(
        dict(
            type='mmtvr.TextVideoRetriever',
            text_encoder=dict(
                type='mmtvr.CLIPTextEncoder', clip=str(tiny_clip)
            ),
            frame_encoder=dict(
                type='mmtvr.CLIPFrameEncoder', clip=str(tiny_clip)
            ),
            head=dict(type='mmtvr.TokenWiseHead', embed_dims=WIDTH),
            contrastive_loss=dict(type='mmtvr.InfoNCELoss'),
            partial_loss=dict(
                type='mmtvr.PartialOrderLoss',
                text_masker=dict(type='mmtvr.RandomMasker'),
            ),
        )
    ).eval()


def twins():
    """Captions 2 i and 2 i + 1 differ in their second word alone."""
    generator = torch.Generator().manual_seed(3)
    tokens = torch.randint(5, 200, (PAIRS, LENGTH), generator=generator)
    tokens = tokens.repeat_interleave(2, 0)
    tokens[1::2, 2] = (tokens[1::2, 2] + 7) % 200
    removed = torch.zeros_like(tokens).bool()
    removed[:, 2] = True
    return dict(tokens=tokens, token_mask=torch.ones_like(removed)), removed


def picked(partial, whole):
    """Share of texts that match their own of two, ties counting half.

    The video of a caption shows what the caption says: its frames are the
    features of the whole caption.
    """
    own = [0, 1] * PAIRS
    sim = TokenWiseHead(WIDTH)(partial, whole).unflatten(1, (PAIRS, 2))
    rows = torch.arange(2 * PAIRS)
    sim = sim[rows, rows // 2]
    gap = sim[rows, own] - sim[rows, [1 - i for i in own]]
    # Equal inputs differ by rounding between rows of a batch.
    gap = gap.where(gap.abs() > 1e-5, 0.0)
    return (gap.sign() / 2 + 0.5).mean().item()


@torch.no_grad()
def test_words_masked_behind_the_encoder_leak_and_removed_ones_do_not(model):
    inputs, removed = twins()
    whole = model.extract_text(inputs)
    masked = whole._replace(mask=whole.mask & ~removed)
    assert picked(masked, whole) > 0.95
    rows = torch.arange(len(removed))
    partial = model.extract_partial_text(inputs, removed, rows)
    assert picked(partial, whole) == pytest.approx(0.5, abs=1e-6)


@torch.no_grad()
def test_partial_captions_are_the_shorter_captions(model):
    inputs, removed = twins()
    rows = torch.tensor([0, 3])
    partial = model.extract_partial_text(inputs, removed[rows], rows)
    shorter = torch.cat([inputs['tokens'][:, :2], inputs['tokens'][:, 3:]], 1)
    alone = model.extract_text(
        dict(tokens=shorter[rows], token_mask=inputs['token_mask'][:2, 1:])
    )
    torch.testing.assert_close(partial.tokens, alone.tokens)
    torch.testing.assert_close(partial.pooled, alone.pooled)


@torch.no_grad()
def test_frames_masked_behind_the_transformer_leak_and_removed_ones_do_not():
    torch.manual_seed(0)
    temporal = FrameTransformer(WIDTH, num_layers=1)
    frames = torch.randn(PAIRS, LENGTH, WIDTH).repeat_interleave(2, 0)
    frames[1::2, 2] = torch.randn(PAIRS, WIDTH)
    mask = torch.ones(2 * PAIRS, LENGTH).bool()
    removed = torch.zeros_like(mask)
    removed[:, 2] = True
    frames = features_of_frames(frames, mask)
    whole = temporal(frames)
    masked = whole._replace(mask=mask & ~removed)
    assert picked(masked, whole) > 0.95
    partial = temporal(remove_frames(frames, removed))
    assert picked(partial, whole) == pytest.approx(0.5, abs=1e-6)


def test_removed_frames_leave_the_pooled_vector():
    torch.manual_seed(0)
    mask = torch.tensor([[True, True, True], [True, True, False]])
    frames = features_of_frames(torch.randn(2, 3, 4), mask)
    removed = torch.tensor([[False, True, False], [True, False, False]])
    partial = remove_frames(frames, removed)
    assert partial.mask.tolist() == [[True, True], [True, False]]
    for row, kept in ((0, [0, 2]), (1, [1])):
        expected = frames.tokens[row, kept]
        assert torch.equal(partial.tokens[row, : len(kept)], expected)
        mean = torch.nn.functional.normalize(expected.mean(0), dim=0)
        torch.testing.assert_close(partial.pooled[row], mean)


def test_video_towers_cannot_have_partial_videos(model):
    class Family:
        video = True

    loss = MODELS.build(
        dict(
            type='mmtvr.PartialOrderLoss',
            video_masker=dict(type='mmtvr.RandomMasker'),
        )
    )
    side = TokenFeatures(
        torch.ones(1, 2, 4), torch.ones(1, 2).bool(), torch.ones(1, 4)
    )

    class Model:
        frame_encoder = type('Tower', (), dict(family=Family))

    with pytest.raises(SetupError, match='video_masker=None'):
        loss.partial_matches(
            Model, dict(video_of_text=torch.zeros(1).long()), side, side, side
        )


def test_captions_that_are_encoded_already_cannot_be_partial(model):
    inputs = dict(words=torch.ones(1, 2, 4), video_of_text=torch.zeros(1))
    with pytest.raises(SetupError, match='text_masker=None'):
        model.partial_loss.partial_matches(model, inputs, None, None, None)
