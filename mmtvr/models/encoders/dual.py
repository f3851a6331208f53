"""The towers of any dual encoder of transformers that shares one space.

One adapter for the families in :data:`FAMILIES`. What differs between them
is what a word is, how a caption is padded, and which parts a tower needs.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.align.modeling_align import round_filters

from mmtvr.errors import SetupError
from mmtvr.models.encoders.clip import (
    checkpoint_layers,
    encode_rows,
    freeze_lower_layers,
)
from mmtvr.ops import features_of_frames, to_unit
from mmtvr.pretrained import load_model, load_pretrained
from mmtvr.registry import MODELS
from mmtvr.structures import TokenFeatures


class Tower(NamedTuple):
    """Where the parts of one tower are in a model of transformers.

    Attributes:
        parts: Attributes of the model that the tower needs; the others go.
        before: Modules in front of the first layer.
        layers: Lists of layers, lowest first.
        width: Size of its features, from the configuration.
    """

    parts: tuple[str, ...]
    before: tuple[str, ...]
    layers: tuple[str, ...]
    width: Callable[[PreTrainedConfig], int]


class Family(NamedTuple):
    """How one family of dual encoders is used.

    Attributes:
        text: Its text tower.
        frames: Its image or video tower.
        words: From the model and the last hidden states to projected words.
        padding: ``'causal'``: words see none behind them, the model pools at
            the end token. ``'mask'``: an attention mask hides padding.
            ``'full'``: padded to all positions without a mask, as trained.
        video: Whether the tower reads all frames of a video together.
        fixed_size: Whether it reads only images of ``image_size``.
        reserved: Positions of the text tower that hold no token.
    """

    text: Tower
    frames: Tower
    words: Callable[[PreTrainedModel, Tensor], Tensor]
    padding: Literal['causal', 'mask', 'full']
    video: bool = False
    fixed_size: bool = True
    reserved: Callable[[PreTrainedConfig], int] = lambda text: 0


def _project(model: PreTrainedModel, hidden: Tensor) -> Tensor:
    return model.text_projection(hidden)


def _projection_dim(config: PreTrainedConfig) -> int:
    return config.projection_dim


CLIP = Family(
    text=Tower(
        ('text_model', 'text_projection'),
        ('text_model.embeddings',),
        ('text_model.encoder.layers',),
        _projection_dim,
    ),
    frames=Tower(
        ('vision_model', 'visual_projection'),
        ('vision_model.embeddings', 'vision_model.pre_layrnorm'),
        ('vision_model.encoder.layers',),
        _projection_dim,
    ),
    words=_project,
    padding='causal',
)
BERT_TEXT = Tower(
    ('text_model', 'text_projection'),
    ('text_model.embeddings',),
    ('text_model.encoder.layer',),
    _projection_dim,
)
#: By ``model_type`` of their ``config.json``.
FAMILIES = {
    'clip': CLIP,
    'metaclip_2': CLIP,
    # Its position table is interpolated: CLIPSeg reads 352 pixels.
    'clipseg': CLIP._replace(fixed_size=False),
    'xclip': CLIP._replace(
        frames=Tower(
            ('vision_model', 'visual_projection', 'mit'),
            ('vision_model.embeddings', 'vision_model.pre_layernorm'),
            ('vision_model.encoder.layers',),
            lambda config: config.vision_config.mit_hidden_size,
        ),
        video=True,
    ),
    'altclip': CLIP._replace(
        text=BERT_TEXT._replace(
            before=('text_model.roberta.embeddings',),
            layers=('text_model.roberta.encoder.layers',),
        ),
        padding='mask',
        # RoBERTa counts positions from the one behind that of padding.
        reserved=lambda text: text.pad_token_id + 1,
    ),
    'align': Family(
        text=BERT_TEXT,
        frames=Tower(
            ('vision_model',),
            ('vision_model.embeddings',),
            ('vision_model.encoder.blocks',),
            lambda config: round_filters(
                config.vision_config, config.vision_config.out_channels[-1]
            ),
        ),
        words=_project,
        padding='mask',
        fixed_size=False,
    ),
    'siglip': Family(
        text=Tower(
            ('text_model',),
            ('text_model.embeddings',),
            ('text_model.encoder.layers',),
            lambda config: config.text_config.projection_size,
        ),
        frames=Tower(
            ('vision_model',),
            ('vision_model.embeddings',),
            ('vision_model.encoder.layers',),
            lambda config: config.vision_config.hidden_size,
        ),
        words=lambda model, hidden: model.text_model.head(hidden),
        padding='full',
    ),
    'videoprism': Family(
        text=Tower(
            ('text_model',),
            ('text_model.embeddings',),
            ('text_model.layers',),
            lambda config: config.text_config.hidden_size,
        ),
        frames=Tower(
            ('video_model',),
            ('video_model.vision_model.spatial_embeddings',),
            (
                'video_model.vision_model.spatial_layers',
                'video_model.vision_model.temporal_layers',
                'video_model.auxiliary_layers',
            ),
            lambda config: config.vision_config.hidden_size,
        ),
        # The last one is the class token that the tower appends.
        words=lambda model, hidden: hidden[:, :-1],
        padding='mask',
        video=True,
    ),
}


def read_family(encoder: str) -> tuple[PreTrainedConfig, Family]:
    """Read the configuration of a model and find its family.

    Args:
        encoder: Hub name, local folder or ``mmtvr://moving-shapes-clip``.

    Returns:
        The configuration and the family.

    Raises:
        SetupError: It is not there, is no dual encoder that mmtvr knows, or
            its towers do not share one space.
    """
    config = load_pretrained(AutoConfig, encoder)
    if config.model_type == 'siglip2':
        raise SetupError(
            f'{encoder} is a SigLIP 2 NaFlex model, which reads images as '
            'lists of patches; use one of fixed resolution, such as '
            'google/siglip2-base-patch16-224'
        )
    family = FAMILIES.get(config.model_type)
    if family is None:
        raise SetupError(
            f'{encoder} is a {config.model_type!r} model, not a dual encoder '
            'whose text and image projections mmtvr knows; expected one of '
            f'{", ".join(FAMILIES)}. Any text encoder joins any image encoder '
            "by model.encoder=dict(text='...', image='...')"
        )
    if getattr(config.vision_config, 'vision_use_head', True) is False:
        raise SetupError(
            f'{encoder} has no pooled image feature (vision_use_head=False), '
            'so images and texts share no space'
        )
    text, frames = family.text.width(config), family.frames.width(config)
    if text != frames:
        raise SetupError(
            f'{encoder} gives texts of width {text} but images of width '
            f'{frames}; both must be equal to be compared'
        )
    return config, family


def read_text_length(
    config: PreTrainedConfig,
    family: Family,
    tokenizer: PreTrainedTokenizerBase,
) -> int:
    """How many word pieces a caption may have, special tokens included."""
    text = config.text_config
    positions = text.max_position_embeddings - family.reserved(text)
    return min(positions, tokenizer.model_max_length)


class DualTower(BaseModule):
    """One tower of a dual encoder, without the parameters of the other.

    Args:
        encoder: A dual encoder in Hugging Face's layout: a hub name, a local
            folder or ``mmtvr://moving-shapes-clip``.
        frozen_layers: Freeze the embeddings and this many of the lowest
            layers. Defaults to 0, nothing frozen. VideoPrism's layers are
            the spatial, then the temporal, then the auxiliary ones.
        gradient_checkpointing: Recompute activations in backward: less
            memory, about a third more time. ALIGN's image tower cannot.
        attn_implementation: Attention kernel of transformers; None for what
            it takes for the model.
        init_cfg: Not used: the weights come from ``encoder``.

    Raises:
        SetupError: The model is not there, of no known family, lacks
            weights, or has fewer layers.
    """

    side: Literal['text', 'frames']

    def __init__(
        self,
        encoder: str,
        frozen_layers: int = 0,
        gradient_checkpointing: bool = False,
        attn_implementation: str | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        config, self.family = read_family(encoder)
        self.name = encoder
        self.tower: Tower = getattr(self.family, self.side)
        self.embed_dims = self.tower.width(config)
        self.before_layers = [f'model.{at}' for at in self.tower.before]
        self.layers = [f'model.{at}' for at in self.tower.layers]
        kwargs = {}
        if attn_implementation is not None:
            kwargs['attn_implementation'] = attn_implementation
        self.model = load_model(AutoModel, encoder, **kwargs)
        _keep_parts(self.model, self.tower.parts)
        layers = nn.ModuleList(
            layer
            for path in self.tower.layers
            for layer in self.model.get_submodule(path)
        )
        before = [self.model.get_submodule(path) for path in self.tower.before]
        freeze_lower_layers(before, layers, frozen_layers)
        if gradient_checkpointing:
            try:
                checkpoint_layers(self.model)
            except ValueError as error:
                raise SetupError(
                    f'the {self.side} tower of {encoder} cannot recompute '
                    f'activations ({error}); set gradient_checkpointing=False'
                ) from error


def _keep_parts(model: nn.Module, parts: Sequence[str]) -> None:
    """Drop the other tower, the temperature and what else is not needed.

    Parameters without a gradient would stop DistributedDataParallel.
    """
    names = [name for name, _ in model.named_children()]
    names += [name for name, _ in model.named_parameters(recurse=False)]
    for name in names:
        if name not in parts:
            delattr(model, name)
    if model.config.model_type == 'align' and 'text_model' in parts:
        # get_text_features projects the first token and never calls it.
        model.text_model.pooler = None


@MODELS.register_module()
class DualTextEncoder(DualTower):
    """Words and sentence of a caption by any dual encoder of transformers.

    A word is the last hidden state through the model's own text projection,
    the sentence is the model's own text feature; docs/how-to/encoders.md says
    per family what that is. Captions are padded as the model was trained, from
    ``tokens`` and ``mask``: padding behind them changes nothing. Paragraphs
    of K rows are encoded as by :class:`CLIPTextEncoder`.

    Arguments are those of :class:`DualTower`.
    """

    side = 'text'

    def __init__(self, encoder: str, **options: Any) -> None:
        super().__init__(encoder, **options)
        config = self.model.config
        tokenizer = load_pretrained(AutoTokenizer, encoder)
        self.text_length = read_text_length(config, self.family, tokenizer)
        special = tokenizer('a', return_special_tokens_mask=True)
        special = special['special_tokens_mask']
        #: Special tokens in front of the words of a caption, and behind them.
        self.lead_tokens = special.index(0)
        self.tail_tokens = special[::-1].index(0)
        # RoBERTa derives positions from the id in its configuration. That of
        # SigLIP 2 is the default of another tokenizer.
        self.pad_id = config.text_config.pad_token_id
        if self.family.padding == 'full':
            self.pad_id = tokenizer.pad_token_id

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
            SetupError: If L exceeds the positions of the text tower.
        """
        if tokens.shape[-1] > self.text_length:
            raise SetupError(
                f'captions have {tokens.shape[-1]} word pieces, but the text '
                f'tower of {self.name} has {self.text_length} positions; set '
                f'max_words of mmtvr.TokenizeText to that or less'
            )
        return encode_rows(self._encode, tokens, mask, weight)

    def _encode(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Encode N rows to words (N, L, D) and sentences (N, D)."""
        length = tokens.shape[1]
        inputs = {}
        if self.family.padding == 'causal':
            # The model pools at the first end token, or at the highest id.
            end = mask.sum(dim=1, keepdim=True).sub(1).clamp(min=0)
            tokens = tokens.where(mask, tokens.gather(1, end))
        else:
            tokens = tokens.masked_fill(~mask, self.pad_id)
        if self.family.padding == 'full':
            tokens = pad(
                tokens, (0, self.text_length - length), value=self.pad_id
            )
        elif self.family.padding == 'mask':
            inputs['attention_mask'] = mask.long()
        found = self.model.get_text_features(input_ids=tokens, **inputs)
        hidden = found.last_hidden_state
        if self.family.padding == 'full':
            hidden = hidden[:, :length]
        words = self.family.words(self.model, hidden)
        return to_unit(words), to_unit(found.pooler_output)


@MODELS.register_module()
class DualFrameEncoder(DualTower):
    """Frames of a video by any dual encoder of transformers.

    A frame is the model's own image feature. Video models read all frames
    together: X-CLIP gives the states of its transformer over frames,
    VideoPrism the mean over the patches of a frame; ``pooled`` is then the
    model's own video feature, else the mean of the real frames.

    Arguments are those of :class:`DualTower`.
    """

    side = 'frames'

    def __init__(self, encoder: str, **options: Any) -> None:
        super().__init__(encoder, **options)
        vision = self.model.config.vision_config
        self.image_size = None
        if self.family.fixed_size:
            size = vision.image_size
            self.image_size = (
                (size, size) if isinstance(size, int) else tuple(size)
            )
        self.num_frames = vision.num_frames if self.family.video else None

    def forward(self, frames: Tensor, mask: Tensor) -> TokenFeatures:
        """Encode the frames of videos.

        Args:
            frames: Shape (V, T, 3, H, W), normalised.
            mask: Shape (V, T), bool, True for real frames.

        Returns:
            Features of V videos, float32.

        Raises:
            SetupError: H or W is not the image size of the model, or T is
                not the number of frames of a video model.
        """
        size = tuple(frames.shape[-2:])
        if self.image_size is not None and size != self.image_size:
            wanted = self.image_size
            raise SetupError(
                f'frames are {size[1]}x{size[0]}, but {self.name} reads '
                f"{wanted[1]}x{wanted[0]}; set dict(type='mmaction.CenterCrop'"
                f', crop_size={wanted[0]}) and the Resize before it'
            )
        if self.num_frames is None:
            found = self.model.get_image_features(frames.flatten(0, 1))
            images = found.pooler_output.unflatten(0, mask.shape)
            return features_of_frames(images, mask)
        # A graph that is exported cannot depend on values.
        is_whole = torch.compiler.is_exporting() or bool(mask.all())
        if mask.shape[1] != self.num_frames or not is_whole:
            raise SetupError(
                f'videos have {int(mask.sum(1).min())} frames, but the video '
                f'tower of {self.name} reads exactly {self.num_frames}; set '
                f'num_frames={self.num_frames} and '
                "short_videos='repeat' of mmtvr.LoadVideoFrames"
            )
        tokens, pooled = self._encode_videos(frames)
        return TokenFeatures(to_unit(tokens), mask, to_unit(pooled))

    def _encode_videos(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Encode V videos to tokens (V, T, D) and videos (V, D)."""
        if self.model.config.model_type == 'xclip':
            # get_video_features of transformers 5.23 keeps no frame states.
            images = self.model.vision_model(frames.flatten(0, 1))
            images = self.model.visual_projection(images.pooler_output)
            found = self.model.mit(images.unflatten(0, frames.shape[:2]))
            return found.last_hidden_state, found.pooler_output
        found = self.model.get_video_features(pixel_values_videos=frames)
        patches = found.last_hidden_state.unflatten(1, (frames.shape[1], -1))
        return patches.mean(dim=2), found.pooler_output.flatten(1)
