"""CLIP's towers give what transformers gives, as unit vectors."""

import pytest
import torch
from transformers import CLIPModel

from mmtvr.errors import SetupError
from mmtvr.models import CLIPFrameEncoder, CLIPTextEncoder


@pytest.fixture
def captions(tiny_clip):
    """Two captions of 3 and 5 pieces: start, words, end, padding."""
    config = CLIPModel.from_pretrained(tiny_clip).config.text_config
    start, end = config.bos_token_id, config.eos_token_id
    tokens = torch.tensor(
        [[start, 5, end, end, end, end], [start, 7, 8, 9, end, end]]
    )
    mask = torch.tensor([[1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 0]]).bool()
    return tokens, mask


def test_text_encoder_equals_clip_as_unit_vectors(tiny_clip, captions):
    tokens, mask = captions
    features = CLIPTextEncoder(str(tiny_clip)).eval()(tokens, mask)
    clip = CLIPModel.from_pretrained(tiny_clip).eval()
    expected = clip.get_text_features(input_ids=tokens).pooler_output
    torch.testing.assert_close(
        features.pooled, torch.nn.functional.normalize(expected, dim=-1)
    )
    assert features.tokens.shape == (2, 6, 32)
    torch.testing.assert_close(features.tokens.norm(dim=-1), torch.ones(2, 6))
    torch.testing.assert_close(features.pooled[0], features.tokens[0, 2])
    assert features.mask is mask
    assert features.weight is None


def test_text_encoder_ignores_padding(tiny_clip, captions):
    tokens, mask = captions
    encoder = CLIPTextEncoder(str(tiny_clip)).double().eval()
    other = tokens.masked_fill(~mask, 3)
    before, after = encoder(tokens, mask), encoder(other, mask)
    assert torch.equal(before.pooled, after.pooled)
    assert torch.equal(before.tokens[mask], after.tokens[mask])


def test_paragraph_is_encoded_row_by_row(tiny_clip, captions):
    tokens, mask = captions
    encoder = CLIPTextEncoder(str(tiny_clip)).eval()
    paragraphs = torch.stack([tokens, tokens.flip(0)])
    used = torch.stack([mask, mask.flip(0)])
    used[1, 1] = False
    weight = used.float()
    features = encoder(paragraphs, used, weight)
    rows = encoder(tokens, mask)
    assert features.tokens.shape == (2, 12, 32)
    assert torch.equal(features.mask, used.flatten(1))
    assert torch.equal(features.weight, weight.flatten(1))
    torch.testing.assert_close(
        features.tokens[0][features.mask[0]], rows.tokens[mask]
    )
    both = torch.nn.functional.normalize(rows.pooled.sum(0), dim=-1)
    torch.testing.assert_close(features.pooled[0], both)
    torch.testing.assert_close(features.pooled[1], rows.pooled[1])
    features.pooled.sum().backward()
    assert all(p.grad.isfinite().all() for p in encoder.parameters())


def test_paragraph_of_one_row_is_a_caption(tiny_clip, captions):
    tokens, mask = captions
    encoder = CLIPTextEncoder(str(tiny_clip)).eval()
    caption = encoder(tokens, mask)
    paragraph = encoder(tokens[:, None], mask[:, None])
    for ours, theirs in zip(paragraph[:3], caption[:3], strict=True):
        torch.testing.assert_close(ours, theirs)


def test_frame_encoder_equals_clip_on_each_frame(tiny_clip):
    frames = torch.randn(2, 3, 3, 32, 32)
    mask = torch.tensor([[1, 1, 1], [1, 0, 0]]).bool()
    features = CLIPFrameEncoder(str(tiny_clip)).eval()(frames, mask)
    clip = CLIPModel.from_pretrained(tiny_clip).eval()
    one = clip.get_image_features(pixel_values=frames[0]).pooler_output
    one = torch.nn.functional.normalize(one, dim=-1)
    torch.testing.assert_close(features.tokens[0], one)
    mean = torch.nn.functional.normalize(one.mean(0), dim=-1)
    torch.testing.assert_close(features.pooled[0], mean)
    torch.testing.assert_close(features.pooled[1], features.tokens[1, 0])


@pytest.mark.parametrize('encoder', [CLIPTextEncoder, CLIPFrameEncoder])
def test_frozen_layers_leave_the_upper_ones_trainable(tiny_clip, encoder):
    model = encoder(str(tiny_clip), frozen_layers=1)
    frozen = {n for n, p in model.named_parameters() if not p.requires_grad}
    assert any('embedding' in name for name in frozen)
    assert any('layers.0.' in name for name in frozen)
    assert not any('layers.1.' in name for name in frozen)
    assert not any('projection' in name for name in frozen)
    assert all(p.requires_grad for p in encoder(str(tiny_clip)).parameters())
    with pytest.raises(SetupError, match=r'frozen_layers=3.*2 layers'):
        encoder(str(tiny_clip), frozen_layers=3)


def test_gradient_checkpointing_changes_no_gradient(tiny_clip, captions):
    gradients = []
    for checkpointing in (False, True):
        encoder = CLIPTextEncoder(
            str(tiny_clip), gradient_checkpointing=checkpointing
        ).train()
        encoder(*captions).tokens.square().sum(-1).sub(
            encoder(*captions).tokens[..., 0]
        ).sum().backward()
        gradients.append([p.grad.clone() for p in encoder.parameters()])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed)


def test_misfits_name_the_setting(tiny_clip):
    text = CLIPTextEncoder(str(tiny_clip))
    with pytest.raises(SetupError, match=r'78 word pieces.*77.*max_words'):
        text(torch.zeros(1, 78).long(), torch.ones(1, 78).bool())
    frame = CLIPFrameEncoder(str(tiny_clip))
    with pytest.raises(SetupError, match=r'40x48.*32x32.*crop_size=32'):
        frame(torch.zeros(1, 2, 3, 48, 40), torch.ones(1, 2).bool())


def test_pretrained_weights_survive_init_weights(tiny_clip):
    for encoder in (CLIPTextEncoder, CLIPFrameEncoder):
        model = encoder(str(tiny_clip))
        before = {k: v.clone() for k, v in model.state_dict().items()}
        model.init_weights()
        for key, value in model.state_dict().items():
            assert torch.equal(value, before[key]), key
