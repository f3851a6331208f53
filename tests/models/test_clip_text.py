"""The text side of a CLIP retriever in plain PyTorch: the same features."""

import pytest
import torch
from torch import nn

from mmtvr.models.clip_text import build_clip_text
from mmtvr.registry import MODELS

CLIP = 'mmtvr://moving-shapes-clip'
TOKENIZE = dict(type='mmtvr.TokenizeText', tokenizer=CLIP, max_words=24)


def settings(clip=CLIP, **changes):
    return (
        dict(
            type='mmtvr.TextVideoRetriever',
            text_encoder=dict(type='mmtvr.CLIPTextEncoder', clip=clip),
            frame_encoder=nn.Identity(),
            head=dict(type='mmtvr.TokenWiseHead', embed_dims=96),
            contrastive_loss=nn.Identity(),
        )
        | changes
    )


@pytest.mark.parametrize('activation', ['gelu', 'quick_gelu'])
def test_features_equal_those_of_the_whole_model(activation, tmp_path):
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=30,
        hidden_size=16,
        intermediate_size=24,
        projection_dim=96,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=24,
        hidden_act=activation,
        eos_token_id=2,
    )
    tower = CLIPTextModelWithProjection(config)
    tower.save_pretrained(tmp_path)
    (tmp_path / 'config.json').write_text(
        '{"model_type": "clip", "projection_dim": 96, "text_config": '
        + config.to_json_string(use_diff=False)
        + '}'
    )
    # The folder has the text tower alone, its settings those of a CLIP.
    small = build_clip_text(settings(str(tmp_path)), TOKENIZE).eval()
    whole = MODELS.build(settings()).eval()
    whole.text_encoder.clip = tower.eval()
    names = {f'text_encoder.clip.{name}' for name in tower.state_dict()}
    assert {n for n in small.state_dict() if n.startswith('text_')} == names
    small.load_state_dict(whole.state_dict(), strict=False)
    mask = torch.tensor([[True] * 5 + [False] * 2, [True] * 7])
    tokens = torch.randint(3, 30, mask.shape)
    inputs = dict(tokens=tokens, token_mask=mask, token_weight=mask.float())
    with torch.no_grad():
        found, wanted = small.extract_text(inputs), whole.extract_text(inputs)
    torch.testing.assert_close(found.pooled, wanted.pooled)
    torch.testing.assert_close(found.tokens[mask], wanted.tokens[mask])
    assert torch.equal(found.mask, wanted.mask)
    assert torch.equal(found.weight, wanted.weight)


@pytest.mark.parametrize(
    'changes',
    [
        dict(lora=dict(text_encoder=dict(r=2))),
        dict(frozen_encoders=True),
        dict(data_preprocessor=dict(type='Mine')),
        dict(head=dict(type='mine.Head')),
        dict(text_encoder=dict(type='mmtvr.DualTextEncoder', model=CLIP)),
        dict(
            text_encoder=dict(
                type='mmtvr.CLIPTextEncoder', clip=CLIP, query_expansion=True
            )
        ),
        dict(text_encoder=dict(type='mmtvr.CLIPTextEncoder', clip='a/b')),
    ],
)
def test_other_models_are_left_to_the_whole(changes):
    assert build_clip_text(settings(**changes), TOKENIZE) is None


def test_paragraphs_are_left_to_the_whole():
    tokenize = TOKENIZE | dict(long_text='sentences')
    assert build_clip_text(settings(), tokenize) is None
    assert build_clip_text(settings(), TOKENIZE) is not None
