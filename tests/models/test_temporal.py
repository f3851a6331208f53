"""The transformers over frames."""

import pytest
import torch
from transformers import CLIPTextModel

from mmtvr.errors import SetupError
from mmtvr.models import (
    CLIPFrameEncoder,
    FrameTransformer,
    ResidualFrameTransformer,
    TextVideoRetriever,
)
from mmtvr.ops import features_of_frames
from mmtvr.structures import TokenFeatures


def video_features(shape=(3, 5, 32), dtype=torch.float64):
    torch.manual_seed(0)
    tokens = torch.nn.functional.normalize(torch.randn(shape), dim=-1)
    mask = torch.ones(shape[:2]).bool()
    mask[1, 3:] = False
    pooled = torch.nn.functional.normalize(tokens.mean(1), dim=-1)
    return TokenFeatures(tokens.to(dtype), mask, pooled.to(dtype))


def trained(kind):
    """A module as it is after some training, the zeros of its start gone."""
    torch.manual_seed(1)
    model = kind(32, 2).double()
    if kind is ResidualFrameTransformer:
        torch.nn.init.normal_(model.out.weight, std=0.1)
    return model


KINDS = pytest.mark.parametrize(
    'kind', [FrameTransformer, ResidualFrameTransformer]
)


@KINDS
def test_output_is_unit_vectors_and_their_mean(kind):
    video = video_features()
    out = trained(kind).eval()(video)
    torch.testing.assert_close(
        out.tokens.norm(dim=-1), torch.ones(3, 5).double()
    )
    mean = out.tokens[1, :3].mean(0)
    torch.testing.assert_close(out.pooled[1], mean / mean.norm())


@KINDS
@pytest.mark.parametrize('training', [False, True])
def test_padding_of_any_content_changes_nothing(kind, training):
    video = video_features()
    model = trained(kind).train(training)
    other = video._replace(
        tokens=video.tokens.masked_fill(~video.mask[..., None], 7.0)
    )
    before, after = model(video), model(other)
    torch.testing.assert_close(
        before.tokens[video.mask], after.tokens[video.mask], rtol=0, atol=1e-12
    )
    shorter = TokenFeatures(*(x[1:2] for x in video[:3]))
    shorter = shorter._replace(
        tokens=shorter.tokens[:, :3], mask=shorter.mask[:, :3]
    )
    torch.testing.assert_close(
        model(shorter).pooled, before.pooled[1:2], rtol=0, atol=1e-12
    )


@KINDS
def test_order_of_frames_matters(kind):
    video = video_features()
    model = trained(kind)
    turned = video._replace(tokens=video.tokens.flip(1))
    difference = model(video).pooled[0] - model(turned).pooled[0]
    assert difference.abs().max() > 1e-6


def test_first_text_layers_of_clip_are_taken_over(tiny_clip):
    model = FrameTransformer(32, 2, max_frames=5, clip=str(tiny_clip))
    model = model.double().eval()
    donor = CLIPTextModel.from_pretrained(tiny_clip).double().eval()
    video = video_features()
    positions = donor.embeddings.position_embedding.weight[:5]
    x = video.tokens + positions
    for layer in donor.encoder.layers:
        x = layer(x, attention_mask=None)
    x = x + video.tokens
    expected = torch.nn.functional.normalize(x, dim=-1)
    # The layer norms differ: 1e-12 here, 1e-5 in CLIP.
    torch.testing.assert_close(
        model(video).tokens[0], expected[0], rtol=0, atol=1e-3
    )


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(embed_dims=64, num_layers=2), 'embed_dims=64.*width 32'),
        (dict(embed_dims=32, num_layers=4), 'num_layers=4.*has 2'),
        (
            dict(embed_dims=32, num_layers=2, max_frames=99),
            'max_frames=99.*has 77',
        ),
    ],
)
def test_clip_that_does_not_fit_is_named(tiny_clip, arguments, message):
    with pytest.raises(SetupError, match=message):
        FrameTransformer(**arguments, clip=str(tiny_clip))


@KINDS
def test_too_many_frames_name_the_setting(kind):
    with pytest.raises(SetupError, match=rf'5 frames.*{kind.__name__}.*=4'):
        kind(32, 1, max_frames=4).double()(video_features())


@pytest.mark.parametrize('training', [False, True])
def test_residual_branch_starts_as_the_model_without_it(tiny_clip, training):
    torch.manual_seed(0)
    frames, mask = torch.randn(2, 4, 3, 32, 32), torch.ones(2, 4).bool()
    mask[1, 2:] = False
    encoder = CLIPFrameEncoder(str(tiny_clip)).train(training)
    raw = CLIPFrameEncoder(str(tiny_clip), raw_frames=True).train(training)
    temporal = ResidualFrameTransformer(32).train(training)
    expected = encoder(frames, mask)
    found = temporal(raw(frames, mask))
    assert torch.equal(found.tokens, expected.tokens)
    assert torch.equal(found.pooled, expected.pooled)
    # Unit vectors are scaled a second time, to the last digit.
    found = temporal(expected)
    torch.testing.assert_close(
        found.tokens, expected.tokens, rtol=0, atol=2e-7
    )


def test_residual_branch_does_not_see_the_length_of_frames():
    video = video_features()
    lengths = torch.rand(3, 5, 1).double() + 0.5
    model = trained(ResidualFrameTransformer)
    longer = video._replace(tokens=video.tokens * lengths)
    torch.testing.assert_close(
        model(longer).tokens[video.mask], model(video).tokens[video.mask]
    )


def test_every_parameter_of_the_branch_trains_from_the_first_steps():
    model = ResidualFrameTransformer(32).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    start = [parameter.clone() for parameter in model.parameters()]
    target = torch.randn(3, 5, 32, dtype=torch.float64)
    for _ in range(2):
        optimizer.zero_grad()
        (model(video_features()).tokens * target).sum().backward()
        # DDP waits for a gradient of each.
        assert all(p.grad is not None for p in model.parameters())
        optimizer.step()
    for old, new in zip(start, model.parameters(), strict=True):
        assert not torch.equal(old, new)


def test_video_without_frames_leaves_gradients_finite():
    video = video_features()
    mask = video.mask.clone()
    mask[2] = False
    tokens = video.tokens.clone().requires_grad_()
    model = trained(ResidualFrameTransformer)
    model(video._replace(tokens=tokens, mask=mask)).pooled.sum().backward()
    for tensor in (tokens, *model.parameters()):
        assert tensor.grad.isfinite().all()


def test_raw_frames_are_the_projections_and_need_a_temporal(tiny_clip):
    torch.manual_seed(0)
    frames, mask = torch.randn(2, 3, 3, 32, 32), torch.ones(2, 3).bool()
    raw = CLIPFrameEncoder(str(tiny_clip), raw_frames=True)
    found = raw(frames, mask)
    expected = raw.clip(pixel_values=frames.flatten(0, 1)).image_embeds
    assert torch.equal(found.tokens, expected.unflatten(0, (2, 3)))
    assert torch.equal(
        found.pooled, features_of_frames(found.tokens, mask).pooled
    )
    with pytest.raises(SetupError, match='raw_frames=True'):
        TextVideoRetriever(
            text_encoder=torch.nn.Identity(),
            frame_encoder=raw,
            head=torch.nn.Identity(),
            contrastive_loss=torch.nn.Identity(),
        )


def test_frame_transformer_adds_raw_frames_to_its_output():
    video = video_features()
    raw = video._replace(tokens=3 * video.tokens)
    model = FrameTransformer(32, 1).double()
    # Without a branch the sum is the input, of any length.
    for parameter in model.layers.parameters():
        torch.nn.init.zeros_(parameter)
    torch.nn.init.zeros_(model.positions.weight)
    torch.testing.assert_close(
        model(raw).tokens[video.mask], video.tokens[video.mask]
    )
