"""The transformer over frames."""

import pytest
import torch
from transformers import CLIPTextModel

from mmtvr.errors import SetupError
from mmtvr.models import FrameTransformer
from mmtvr.structures import TokenFeatures


def video_features(shape=(3, 5, 32), dtype=torch.float64):
    torch.manual_seed(0)
    tokens = torch.nn.functional.normalize(torch.randn(shape), dim=-1)
    mask = torch.ones(shape[:2]).bool()
    mask[1, 3:] = False
    pooled = torch.nn.functional.normalize(tokens.mean(1), dim=-1)
    return TokenFeatures(tokens.to(dtype), mask, pooled.to(dtype))


def test_output_is_unit_vectors_and_their_mean():
    video = video_features()
    out = FrameTransformer(32, 2).double().eval()(video)
    torch.testing.assert_close(
        out.tokens.norm(dim=-1), torch.ones(3, 5).double()
    )
    mean = out.tokens[1, :3].mean(0)
    torch.testing.assert_close(out.pooled[1], mean / mean.norm())


@pytest.mark.parametrize('training', [False, True])
def test_padding_of_any_content_changes_nothing(training):
    video = video_features()
    model = FrameTransformer(32, 2).double().train(training)
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


def test_order_of_frames_matters():
    video = video_features()
    model = FrameTransformer(32, 2).double()
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


def test_too_many_frames_name_the_setting():
    with pytest.raises(SetupError, match=r'5 frames.*max_frames=4'):
        FrameTransformer(32, 1, max_frames=4).double()(video_features())
