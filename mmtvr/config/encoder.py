"""``model.encoder`` of a config: one name, or two, set what depends on it."""

import json
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log
from safetensors import safe_open
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    PreTrainedConfig,
)

from mmtvr.config.check import accepted_arguments, our_components, walk
from mmtvr.errors import SetupError, first_line
from mmtvr.models.encoders.dual import (
    FAMILIES,
    Family,
    read_family,
    read_text_length,
)
from mmtvr.models.encoders.open_clip import read_image_preparation
from mmtvr.models.encoders.towers import (
    EFFICIENTNET_LITE,
    read_efficientnet_lite,
    read_image_config,
    read_text_limit,
)
from mmtvr.pretrained import (
    OPEN_CLIP,
    find_file,
    load_pretrained,
    load_tokenizer,
    read_open_clip_config,
)

#: Of the encoders that a config has, kept for the new ones.
OPTIONS = (
    *('frozen_layers', 'gradient_checkpointing', 'attn_implementation'),
    *('frozen', 'projection', 'regions'),
)
SCALARS = ('logit_scale', 'logit_bias', 'temperature')
ENCODERS = ('text_encoder', 'frame_encoder')
RESIZES = ('Resize', 'RandomResizedCrop', 'CenterCrop', 'RandomCrop')


class EncoderFacts(NamedTuple):
    """What the files of an encoder, or of a pair, say about its use.

    Attributes:
        model_type: Its family, as ``config.json`` of the text names it.
        width: Size of its features.
        image_size: Height, which is the width, of what it reads.
        mean: Mean of each channel on the scale 0 to 255, RGB.
        std: Standard deviation of each channel, likewise.
        text_length: Word pieces of a caption, special tokens included.
        num_frames: Frames of a video, or None for an image model.
        logit_scale: Its temperature as a factor, or None.
        logit_bias: The bias of its sigmoid loss, or None.
        donor: Layers and positions of a text tower of its own width that a
            :class:`FrameTransformer` can start from, or None.
    """

    model_type: str
    width: int
    image_size: int
    mean: list[float]
    std: list[float]
    text_length: int
    num_frames: int | None = None
    logit_scale: float | None = None
    logit_bias: float | None = None
    donor: tuple[int, int] | None = None


def apply_encoder(cfg: Config) -> None:
    """Replace ``model.encoder`` by the settings that it stands for.

    Both towers; mean and deviation of the data preprocessor; size of the
    frames and the tokenizer in each pipeline; ``embed_dims`` of the parts of
    the model; first values of temperature and bias. ``max_words`` stays
    unless the text tower is shorter; ``num_frames`` becomes that of a video
    model. Options of the encoders that the config has are kept. Of towers
    with a projection, ``TwoRateConstructor`` slows down the rest alone.

    Args:
        cfg: The whole config, changed in place; without ``model.encoder``
            nothing happens. A name is that of a dual encoder, or
            ``open_clip:NAME``; ``dict(text=..., image=..., embed_dims=512)``
            joins any two.

    Raises:
        SetupError: The model is not there, or its files do not fit one
            another.
    """
    model = cfg.get('model')
    encoder = model.pop('encoder', None) if isinstance(model, dict) else None
    if encoder is None:
        return
    kinds = ('TextTower', 'ImageTower')
    if isinstance(encoder, dict):
        facts = read_pair(**_check_pair(encoder))
        text, image = encoder['text'], encoder['image']
        options = dict(embed_dims=facts.width)
    else:
        text = image = encoder
        if encoder.startswith(OPEN_CLIP):
            facts = _read_open_clip(encoder)
            options = dict(embed_dims=facts.width, projection=False)
        else:
            facts, options = read_encoder(encoder), {}
            kinds = ('DualTextEncoder', 'DualFrameEncoder')
    for side, kind, name in zip(
        ('text', 'frame'), kinds, (text, image), strict=True
    ):
        before = model.get(f'{side}_encoder') or {}
        kept = {key: before[key] for key in OPTIONS if key in before}
        unknown = kept.keys() - accepted_arguments(our_components()[kind])
        if unknown:
            raise SetupError(
                f'model.{side}_encoder has {sorted(unknown)[0]}, but '
                f'model.encoder={encoder!r} makes it mmtvr.{kind}, which has '
                'no such option: leave it out'
            )
        model[f'{side}_encoder'] = ConfigDict(
            type=f'mmtvr.{kind}', encoder=name, **{**options, **kept}
        )
    if kinds[0] == 'TextTower':
        _slow_pretrained(cfg)
    preprocessor = model.get('data_preprocessor') or dict(
        type='mmtvr.TextVideoPreprocessor'
    )
    model['data_preprocessor'] = ConfigDict(
        preprocessor, mean=facts.mean, std=facts.std
    )
    _fit_parts(model, facts, text)
    root = dict(cfg.items())
    for _, node in walk(root):
        if _kind(node) == 'TokenizeText':
            node['tokenizer'] = text
            if facts.model_type == 'siglip':
                node['lowercase'] = True
            # Its default, which may be more than a short tower has.
            node.setdefault('max_words', 32)
        if 'type' in node and 'max_words' in node:
            node['max_words'] = min(node['max_words'], facts.text_length)
    for pipeline in _pipelines(root):
        _fit_frames(pipeline, facts)


def _slow_pretrained(cfg: Config) -> None:
    """Give projections, which are new, the rate of other new parts."""
    wrapper = cfg.get('optim_wrapper') or {}
    if str(wrapper.get('constructor')).endswith('TwoRateConstructor'):
        rates = wrapper.setdefault('paramwise_cfg', ConfigDict())
        rates['slow'] = [
            f'{name}.model' if name in ENCODERS else name
            for name in rates.get('slow', ENCODERS)
        ]


def _check_pair(pair: dict) -> dict:
    known = {'text', 'image', 'embed_dims'}
    if not {'text', 'image'} <= pair.keys() <= known:
        raise SetupError(
            f'model.encoder has {sorted(pair)}; expected a name, or '
            'dict(text=..., image=..., embed_dims=512) with two names. Other '
            'options go into model.text_encoder and model.frame_encoder'
        )
    return dict(pair)


def read_pair(text: str, image: str, embed_dims: int = 512) -> EncoderFacts:
    """Read what the files of two encoders say about their use together.

    Args:
        text: See :class:`mmtvr.models.TextTower`.
        image: See :class:`mmtvr.models.ImageTower`.
        embed_dims: Width of the space that they share.

    Returns:
        The facts.

    Raises:
        SetupError: A file is missing, or they do not fit one another.
    """
    model_type, length = _read_text(text)
    size, mean, std = _read_image(image)
    return EncoderFacts(
        model_type, embed_dims, _check_square(image, size), mean, std, length
    )


def _read_text(name: str) -> tuple[str, int]:
    """Family of a text encoder, and how many word pieces it reads."""
    tokenizer = load_tokenizer(name)
    if name.startswith(OPEN_CLIP):
        return 'open_clip', tokenizer.model_max_length
    config = load_pretrained(AutoConfig, name)
    family = FAMILIES.get(config.model_type)
    text = config if family is None else config.text_config
    _check_tokenizer(name, text.vocab_size, len(tokenizer))
    if family is None:
        length = read_text_limit(name, config, tokenizer)
    else:
        length = read_text_length(config, family, tokenizer)
    return config.model_type, length


def _read_image(name: str) -> tuple[list[int], list[float], list[float]]:
    """Size, mean and deviation of the images that an encoder reads."""
    if name.startswith(OPEN_CLIP):
        return read_image_preparation(name)
    if name.startswith(EFFICIENTNET_LITE):
        return read_efficientnet_lite(name)
    return _read_images(name, read_image_config(name))


def _read_open_clip(name: str) -> EncoderFacts:
    width = read_open_clip_config(name)['model_cfg']['embed_dim']
    scale, bias = _read_temperature(name, 'open_clip_')
    facts = read_pair(name, name, width)
    return facts._replace(logit_scale=scale, logit_bias=bias)


def read_encoder(encoder: str) -> EncoderFacts:
    """Read what the files of a dual encoder say about its use.

    Args:
        encoder: Hub name, local folder or ``mmtvr://moving-shapes-clip``.

    Returns:
        The facts.

    Raises:
        SetupError: A file is missing, or they do not fit one another.
    """
    config, family = read_family(encoder)
    tokenizer = load_tokenizer(encoder)
    _check_tokenizer(encoder, config.text_config.vocab_size, len(tokenizer))
    size, mean, std = _read_images(encoder, config)
    if family.fixed_size:
        wanted = config.vision_config.image_size
        wanted = [wanted] * 2 if isinstance(wanted, int) else list(wanted)
        if size != wanted:
            raise SetupError(
                f'{encoder} prepares images of {size} in '
                f'preprocessor_config.json, but config.json says {wanted}; '
                'use the files of one model'
            )
    scale, bias = _read_temperature(encoder)
    return EncoderFacts(
        config.model_type,
        family.text.width(config),
        _check_square(encoder, size),
        mean,
        std,
        read_text_length(config, family, tokenizer),
        config.vision_config.num_frames if family.video else None,
        scale,
        bias,
        _find_donor(config, family),
    )


def _check_square(name: str, size: list[int]) -> int:
    if size[0] != size[1]:
        raise SetupError(
            f'{name} reads images of {size}; only square ones are supported'
        )
    return size[0]


def _check_tokenizer(name: str, rows: int, size: int) -> None:
    if size > rows:
        raise SetupError(
            f'the tokenizer of {name} has {size} word pieces, but its text '
            f'tower only {rows}; use the tokenizer of that model'
        )


def _find_donor(
    config: PreTrainedConfig, family: Family
) -> tuple[int, int] | None:
    text = config.text_config
    if config.model_type != 'clip' or text.hidden_size != family.text.width(
        config
    ):
        return None
    return text.num_hidden_layers, text.max_position_embeddings


def _read_images(
    name: str, config: PreTrainedConfig
) -> tuple[list[int], list[float], list[float]]:
    """Size, mean and deviation of the images that a model reads."""
    if config.model_type == 'videoprism':
        return _read_video_file(name)
    processor = load_pretrained(AutoImageProcessor, name)
    if config.model_type == 'timm_wrapper':
        found = processor.data_config
        return (
            list(found['input_size'][1:]),
            [round(255 * value, 4) for value in found['mean']],
            [round(255 * value, 4) for value in found['std']],
        )
    # What it does to black and white says the rest, whatever its options are
    # (EfficientNet's processor normalises twice, others not at all).
    black, white = (
        np.asarray(
            processor(
                [np.full((64, 64, 3), value, np.uint8)], return_tensors='np'
            )['pixel_values']
        )
        for value in (0, 255)
    )
    size = black.shape[-2:]
    black, white = (
        each.reshape(-1, 3, *size)[0].mean(axis=(1, 2), dtype='f8')
        for each in (black, white)
    )
    std = 255 / (white - black)
    mean = -black * std
    return (
        [int(size[0]), int(size[1])],
        [round(float(value), 4) for value in mean],
        [round(float(value), 4) for value in std],
    )


def _read_video_file(
    name: str,
) -> tuple[list[int], list[float], list[float]]:
    """The same from the file of a video processor.

    Those classes need torchvision in transformers 5.23.
    """
    for file in ('video_preprocessor_config.json', 'processor_config.json'):
        path = find_file(name, file)
        if path is None:
            continue
        content = json.loads(path.read_text())
        content = content.get('video_processor', content)
        size = content.get('crop_size') or content.get('size') or {}
        if {'height', 'width'} <= set(size):
            break
    else:
        raise SetupError(
            f'{name} has no video_preprocessor_config.json with the size of '
            'its frames'
        )
    factor = 1.0
    if content.get('do_rescale', True):
        factor = content.get('rescale_factor', 1 / 255)
    mean, std = np.zeros(3), np.ones(3)
    if content.get('do_normalize', True):
        mean = np.asarray(content['image_mean'])
        std = np.asarray(content['image_std'])
    return (
        [size['height'], size['width']],
        [round(float(value), 4) for value in mean / factor],
        [round(float(value), 4) for value in std / factor],
    )


def _read_temperature(
    name: str, prefix: str = ''
) -> tuple[float | None, float | None]:
    """Factor and bias of a model's logits, out of its weights.

    Args:
        name: The model.
        prefix: Of the names of its files.
    """
    found = _read_scalars(name, prefix)
    scale = None
    if 'logit_scale' in found:
        scale = math.exp(found['logit_scale'])
    elif 'temperature' in found:
        scale = 1 / found['temperature']
    return scale, found.get('logit_bias')


def _read_scalars(name: str, prefix: str) -> dict[str, float]:
    index = find_file(name, 'model.safetensors.index.json')
    if index is not None:
        places = json.loads(index.read_text())['weight_map']
        files = {
            file
            for key, file in places.items()
            if key.rpartition('.')[2] in SCALARS
        }
    else:
        files = {f'{prefix}model.safetensors'}
    found = {}
    for path in (find_file(name, file) for file in sorted(files)):
        if path is None:
            return _read_old_scalars(name, f'{prefix}pytorch_model.bin')
        with safe_open(path, 'pt') as weights:
            for key in weights.keys():  # noqa: SIM118, no mapping
                if key.rpartition('.')[2] in SCALARS:
                    found[key] = float(weights.get_tensor(key))
    return {key.rpartition('.')[2]: value for key, value in found.items()}


def _read_old_scalars(name: str, file: str) -> dict[str, float]:
    path = find_file(name, file)
    if path is None:
        return {}
    try:
        weights = torch.load(path, weights_only=True, map_location='cpu')
    except Exception as error:
        raise SetupError(
            f'{path} cannot be read: {first_line(error)}'
        ) from error
    return {
        key.rpartition('.')[2]: float(value)
        for key, value in weights.items()
        if key.rpartition('.')[2] in SCALARS
    }


def _fit_parts(model: dict, facts: EncoderFacts, encoder: str) -> None:
    """Fit what stands behind the encoders to their width and length."""
    for name, part in model.items():
        component = our_components().get(_kind(part))
        accepted = component and accepted_arguments(component)
        if not accepted or name in ENCODERS:
            continue
        if 'embed_dims' in accepted:
            part['embed_dims'] = facts.width
        if facts.num_frames and 'max_frames' in accepted:
            part['max_frames'] = max(
                part.get('max_frames', 0), facts.num_frames
            )
        if part.get('clip') is not None:
            part['clip'] = _choose_donor(part, facts, encoder)
        if _kind(part) == 'SigmoidLoss' and facts.logit_bias is not None:
            part['bias'] = facts.logit_bias
    if facts.logit_scale is not None:
        scale = ConfigDict(init=100.0, learnable=True, max=100.0)
        scale.update(model.get('logit_scale') or {})
        # CLIP's 100 is not exact in log space.
        close = math.isclose(facts.logit_scale, scale['max'], rel_tol=1e-3)
        scale['init'] = scale['max'] if close else facts.logit_scale
        scale['max'] = max(scale['max'], scale['init'])
        model['logit_scale'] = scale


def _choose_donor(part: dict, facts: EncoderFacts, encoder: str) -> str | None:
    layers, frames = part.get('num_layers', 4), part.get('max_frames', 77)
    if facts.donor and layers <= facts.donor[0] and frames <= facts.donor[1]:
        return encoder
    print_log(
        f'{part["type"]} starts from random weights: the text tower of '
        f'{encoder} is none of CLIP with width {facts.width}, {layers} layers '
        f'and {frames} positions.',
        'current',
    )
    return None


def _kind(node: Any) -> str:
    """The bare name of a component's type, or ''."""
    kind = node.get('type', '') if isinstance(node, dict) else ''
    name = kind if isinstance(kind, str) else kind.__name__
    return name.rpartition('.')[2]


def _pipelines(node: Any) -> Iterator[list]:
    """All lists of transforms that load frames."""
    if isinstance(node, dict):
        for value in node.values():
            yield from _pipelines(value)
    elif isinstance(node, list | tuple):
        kinds = [_kind(each) for each in node]
        if isinstance(node, list) and 'LoadVideoFrames' in kinds:
            yield node
        for value in node:
            yield from _pipelines(value)


def _fit_frames(pipeline: list, facts: EncoderFacts) -> None:
    """Let a pipeline give frames of the size and number that a model reads."""
    kinds = [_kind(each) for each in pipeline]
    size = facts.image_size
    if not set(RESIZES) & set(kinds):
        load = kinds.index('LoadVideoFrames')
        pipeline[load + 1 : load + 1] = [
            ConfigDict(
                type='mmaction.Resize',
                scale=(-1, size),
                interpolation='bicubic',
            ),
            ConfigDict(type='mmaction.CenterCrop', crop_size=size),
        ]
    for step in pipeline:
        match _kind(step):
            case 'LoadVideoFrames':
                if step.get('short_side') is not None:
                    step['short_side'] = size
                if facts.num_frames is not None:
                    step['num_frames'] = facts.num_frames
            case 'Resize':
                # mmaction's (-1, short side) or (width, height).
                first = -1 if -1 in tuple(step['scale']) else size
                step['scale'] = (first, size)
            case 'CenterCrop':
                step['crop_size'] = size
            case 'RandomCrop':
                step['size'] = size
