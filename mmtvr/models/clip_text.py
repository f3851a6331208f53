"""CLIP's text tower and a head alone, in plain PyTorch, for text queries.

Importing the models of transformers and mmengine takes twice as long as
PyTorch itself, and a text query of the command line would wait for it. The
tower here has the parameters of ``CLIPTextModelWithProjection``, under the
same names, and gives its features.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.registry import build_from_cfg
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from mmtvr.models import heads
from mmtvr.ops import to_unit
from mmtvr.pretrained import resolve_pretrained
from mmtvr.registry import MODELS, SCOPE
from mmtvr.structures import TokenFeatures


def _quick_gelu(values: Tensor) -> Tensor:
    return values * torch.sigmoid(1.702 * values)


ACTIVATIONS = dict(gelu=gelu, quick_gelu=_quick_gelu)
# Of CLIPTextEncoder: what changes no feature, or training alone.
NEUTRAL = {
    *('type', 'clip', 'frozen_layers', 'gradient_checkpointing'),
    *('attn_implementation', 'init_cfg'),
}
# Of TextVideoRetriever: what changes how texts are encoded.
CHANGING = ('lora', 'frozen_encoders')
PREPROCESSOR = dict(type='TextVideoPreprocessor')
TEXT_SETTINGS = {
    *('vocab_size', 'max_position_embeddings', 'hidden_size', 'hidden_act'),
    *('intermediate_size', 'num_hidden_layers', 'num_attention_heads'),
    'layer_norm_eps',
}


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, hidden: Tensor) -> Tensor:
        query, key, value = (
            project(hidden).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        mixed = scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))


class _Layer(nn.Module):
    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__()
        width, inner = settings['hidden_size'], settings['intermediate_size']
        eps = settings['layer_norm_eps']
        self.activation = ACTIVATIONS[settings['hidden_act']]
        self.self_attn = _Attention(width, settings['num_attention_heads'])
        self.layer_norm1 = nn.LayerNorm(width, eps=eps)
        self.layer_norm2 = nn.LayerNorm(width, eps=eps)
        self.mlp = nn.ModuleDict(
            dict(fc1=nn.Linear(width, inner), fc2=nn.Linear(inner, width))
        )

    def forward(self, hidden: Tensor) -> Tensor:
        hidden = hidden + self.self_attn(self.layer_norm1(hidden))
        inner = self.activation(self.mlp['fc1'](self.layer_norm2(hidden)))
        return hidden + self.mlp['fc2'](inner)


class _Tower(nn.Module):
    """The tower, its parameters named as those of transformers.

    Args:
        settings: ``text_config`` of the model.
        width: Width D of the features.
    """

    def __init__(self, settings: Mapping[str, Any], width: int) -> None:
        super().__init__()
        hidden = settings['hidden_size']
        self.positions = settings['max_position_embeddings']
        count = settings['num_hidden_layers']
        self.text_model = nn.ModuleDict(
            dict(
                embeddings=nn.ModuleDict(
                    dict(
                        token_embedding=nn.Embedding(
                            settings['vocab_size'], hidden
                        ),
                        position_embedding=nn.Embedding(
                            self.positions, hidden
                        ),
                    )
                ),
                encoder=nn.ModuleDict(
                    dict(
                        layers=nn.ModuleList(
                            _Layer(settings) for _ in range(count)
                        )
                    )
                ),
                final_layer_norm=nn.LayerNorm(
                    hidden, eps=settings['layer_norm_eps']
                ),
            )
        )
        self.text_projection = nn.Linear(hidden, width, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Projected words (N, L, D) of tokens (N, L)."""
        embeddings = self.text_model['embeddings']
        places = torch.arange(tokens.shape[-1], device=tokens.device)
        hidden = embeddings['token_embedding'](tokens)
        hidden = hidden + embeddings['position_embedding'](places)
        for layer in self.text_model['encoder']['layers']:
            hidden = layer(hidden)
        return self.text_projection(
            self.text_model['final_layer_norm'](hidden)
        )


class CLIPTextModel(nn.Module):
    """What a text query needs of a :class:`TextVideoRetriever`.

    Args:
        settings: ``config.json`` of the CLIP of its text encoder.
        head: Settings of its head.
    """

    def __init__(
        self, settings: Mapping[str, Any], head: dict[str, Any]
    ) -> None:
        super().__init__()
        # Not on the device 'meta', for which PyTorch imports its compiler.
        clip = _Tower(settings['text_config'], settings['projection_dim'])
        self.text_encoder = nn.ModuleDict(dict(clip=clip))
        self.head = build_from_cfg(head, MODELS)

    def extract_text(self, inputs: dict[str, Tensor]) -> TokenFeatures:
        """Encode B captions.

        Args:
            inputs: ``tokens``, ``token_mask`` and optionally
                ``token_weight``, each (B, L).
        """
        mask = inputs['token_mask']
        words = to_unit(self.text_encoder['clip'](inputs['tokens']))
        rows = torch.arange(len(words), device=words.device)
        sentence = words[rows, mask.sum(dim=1) - 1]
        return TokenFeatures(words, mask, sentence, inputs.get('token_weight'))

    def similarity(self, text: TokenFeatures, video: TokenFeatures) -> Tensor:
        """Compare B captions with V videos, (B, V), without temperature."""
        return self.head(text, video)


def build_clip_text(
    model: Mapping[str, Any], tokenize: Mapping[str, Any]
) -> CLIPTextModel | None:
    """Build the part of a retriever that text queries need.

    Args:
        model: Settings of the whole model.
        tokenize: Settings of its ``TokenizeText``.

    Returns:
        The part, before its weights are loaded; None where the text encoder
        is no CLIP in a folder that reads captions of one row, or features
        depend on more than it.
    """
    encoder, head = model.get('text_encoder'), model.get('head')
    prepare = model.get('data_preprocessor') or PREPROCESSOR
    if (
        not (_is(model, 'TextVideoRetriever') and _is(head, *heads.__all__))
        or any(model.get(key) for key in CHANGING)
        or not _is(prepare, PREPROCESSOR['type'])
        or not _is(encoder, 'CLIPTextEncoder')
        or not set(encoder) <= NEUTRAL
        or not _is(tokenize, 'TokenizeText')
        or tokenize.get('long_text', 'truncate') != 'truncate'
    ):
        return None
    path = Path(resolve_pretrained(encoder['clip']), 'config.json')
    if not path.is_file():
        return None
    settings = json.loads(path.read_text('utf-8'))
    text = settings.get('text_config') or {}
    if (
        settings.get('model_type') != 'clip'
        or 'projection_dim' not in settings
        or not set(text) >= TEXT_SETTINGS
        or text['hidden_act'] not in ACTIVATIONS
        or tokenize.get('max_words', 32) > text['max_position_embeddings']
    ):
        return None
    return CLIPTextModel(settings, dict(head))


def _is(settings: Any, *names: str) -> bool:
    """Whether settings are of a component of mmtvr with one of the names."""
    kind = settings.get('type') if isinstance(settings, Mapping) else None
    return str(kind).removeprefix(f'{SCOPE}.') in names
