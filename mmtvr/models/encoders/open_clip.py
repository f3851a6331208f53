"""Towers of open_clip models: PE-Core, DFN, EVA02, MobileCLIP2 and others.

``open_clip:NAME`` is a repository of the hub, or a folder, with
``open_clip_config.json``, as open_clip's own ``hf-hub:NAME`` and
``local-dir:NAME``.
"""

from typing import Any

from torch import Tensor, nn
from torch.nn.functional import pad

from mmtvr.errors import SetupError, first_line, import_extra
from mmtvr.pretrained import (
    fetch_open_clip,
    load_tokenizer,
    read_open_clip_config,
)


def load_open_clip(encoder: str) -> tuple[nn.Module, dict[str, Any]]:
    """Load a whole model, and its configuration.

    Raises:
        SetupError: open_clip is not installed, the model is not there, or
            its weights are not those of its configuration.
    """
    library = import_extra('open_clip', 'open_clip', encoder)
    folder = fetch_open_clip(encoder)
    config = read_open_clip_config(encoder)['model_cfg']
    foreign = config['text_cfg'].get('hf_model_name')
    if foreign:
        raise SetupError(
            f'the text tower of {encoder} is the model {foreign} of '
            'transformers, which gives open_clip no words; name that model '
            "as the text of model.encoder=dict(text='...', image='...')"
        )
    try:
        model = library.create_model(
            f'local-dir:{folder}',
            require_pretrained=True,
            # The text tower apart from the rest, as in newer models.
            force_custom_text=True,
        )
    except (RuntimeError, ValueError) as error:
        lines = [line.strip() for line in str(error).splitlines()]
        shapes = [line for line in lines if 'size mismatch' in line]
        raise SetupError(
            f'{encoder} cannot be loaded: '
            f'{shapes[0] if shapes else first_line(error)}'
        ) from error
    return model, config


class OpenClipText(nn.Module):
    """The text tower: projected hidden states, and the model's sentence."""

    def __init__(self, encoder: str) -> None:
        super().__init__()
        model, config = load_open_clip(encoder)
        self.model = model.text
        self.embed_dims: int = config['embed_dim']
        self.text_length: int = self.model.context_length
        # As the tokenizer of the model fills captions up.
        self.pad_id = 0
        if config['text_cfg'].get('hf_tokenizer_name'):
            self.pad_id = load_tokenizer(encoder).pad_token_id

    def forward(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Encode N rows to words (N, L, D) and sentences (N, D)."""
        length = tokens.shape[1]
        tokens = tokens.masked_fill(~mask, self.pad_id)
        # Some towers see padding, and were trained with all positions.
        found = self.model.forward_intermediates(
            pad(tokens, (0, self.text_length - length), value=self.pad_id),
            indices=1,
            normalize_intermediates=True,
            output_fmt='NLC',
        )
        words = found['text_intermediates'][-1][:, :length]
        projection = self.model.text_projection
        if isinstance(projection, nn.Module):
            words = projection(words)
        elif projection is not None:
            words = words @ projection
        return words, found['text_features']


class OpenClipImages(nn.Module):
    """The image tower: the model's image feature and its last patches."""

    def __init__(self, encoder: str) -> None:
        super().__init__()
        model, config = load_open_clip(encoder)
        self.name = encoder
        self.model = model.visual
        size = config['vision_cfg'].get('image_size', 224)
        self.image_size = tuple(size) if isinstance(size, list) else size

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Encode N images to vectors (N, C) and maps (N, C', h, w)."""
        try:
            found = self.model.forward_intermediates(
                images,
                indices=1,
                normalize_intermediates=True,
                output_fmt='NCHW',
            )
        except (RuntimeError, AssertionError) as error:
            height, width = images.shape[-2:]
            raise SetupError(
                f'{self.name} does not read frames of {width}x{height}: '
                f"{first_line(error)}; set dict(type='mmaction.CenterCrop', "
                f'crop_size={self.image_size}) and the Resize before it'
            ) from error
        return found['image_features'], found['image_intermediates'][-1]


def read_image_preparation(
    encoder: str,
) -> tuple[list[int], list[float], list[float]]:
    """Size, mean and deviation (0 to 255) of the images that it reads."""
    config = read_open_clip_config(encoder)
    size = config['model_cfg']['vision_cfg'].get('image_size', 224)
    prepared = config.get('preprocess_cfg', {})
    constants = import_extra('open_clip.constants', 'open_clip', encoder)
    mean = prepared.get('mean', constants.OPENAI_DATASET_MEAN)
    std = prepared.get('std', constants.OPENAI_DATASET_STD)
    return (
        [size, size] if isinstance(size, int) else list(size),
        [round(255 * value, 4) for value in mean],
        [round(255 * value, 4) for value in std],
    )
