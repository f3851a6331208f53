"""CLIP's towers as caption and frame encoders."""

from collections.abc import Callable
from typing import Any

from mmengine.model import BaseModule
from torch import Tensor, arange, nn
from transformers import (
    CLIPTextModelWithProjection,
    CLIPVisionModelWithProjection,
    PreTrainedModel,
)

from mmtvr.errors import SetupError
from mmtvr.models.encoders.motion import FrameMotion, load_motion
from mmtvr.ops import features_of_frames, to_unit
from mmtvr.pretrained import load_pretrained
from mmtvr.registry import MODELS
from mmtvr.structures import TokenFeatures


def freeze_lower_layers(
    embeddings: list[nn.Module], layers: nn.ModuleList, count: int
) -> None:
    """Freeze the embeddings and the first layers of a tower.

    Args:
        embeddings: Everything in front of the first layer.
        layers: The transformer layers, lowest first.
        count: How many layers to freeze; 0 freezes nothing at all.

    Raises:
        SetupError: If there are not that many layers.
    """
    if not 0 <= count <= len(layers):
        raise SetupError(
            f'frozen_layers={count}, but this tower has {len(layers)} '
            'layers; give a number from 0 (nothing frozen) to that'
        )
    if count:
        for module in (*embeddings, *layers[:count]):
            module.requires_grad_(False)


def checkpoint_layers(model: PreTrainedModel) -> None:
    """Recompute activations of the layers in backward to save memory."""
    # The reentrant form would need an input that requires a gradient.
    model.gradient_checkpointing_enable({'use_reentrant': False})


def encode_rows(
    encode: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    tokens: Tensor,
    mask: Tensor,
    weight: Tensor | None = None,
) -> TokenFeatures:
    """Encode captions, or paragraphs row by row.

    Args:
        encode: From N rows (N, L) of tokens and mask to unit words (N, L, D)
            and sentences (N, D).
        tokens: Shape (B, L), or (B, K, L) for paragraphs of K rows.
        mask: Like ``tokens``; all False for a row that is not needed.
        weight: Like ``tokens``, or None.

    Returns:
        Features of B captions. Words of a paragraph are those of all rows,
        (B, K * L); its sentence is the mean of theirs as a unit vector.
    """
    if tokens.ndim == 2:
        words, sentence = encode(tokens, mask)
        return TokenFeatures(words, mask, sentence, weight)
    used = mask.any(dim=-1)
    rows, sentences = encode(tokens[used], mask[used])
    words = rows.new_zeros(*tokens.shape, rows.shape[-1])
    words = words.index_put((used,), rows)
    total = sentences.new_zeros(*used.shape, sentences.shape[-1])
    total = total.index_put((used,), sentences).sum(dim=1)
    return TokenFeatures(
        words.flatten(1, 2),
        mask.flatten(1),
        to_unit(total),
        None if weight is None else weight.flatten(1),
    )


class CLIPTower(BaseModule):
    """One tower of a CLIP: its weights, which layers learn, and memory.

    Args:
        clip: A CLIP in Hugging Face's layout: a hub name, a local folder or
            ``mmtvr://moving-shapes-clip``.
        frozen_layers: Freeze this many of the lowest layers and everything in
            front of them; 0 freezes nothing.
        gradient_checkpointing: Recompute activations in backward: less
            memory, about a third more time.
        attn_implementation: Attention kernel of transformers.
        init_cfg: Not used: the weights come from ``clip``.

    Raises:
        SetupError: If the weights are not there, or there are fewer layers.
    """

    model_class: type[PreTrainedModel]
    #: Where the tower is in the model, and its parts before the first layer.
    tower: str
    front: tuple[str, ...]

    def __init__(
        self,
        clip: str,
        frozen_layers: int = 0,
        gradient_checkpointing: bool = False,
        attn_implementation: str = 'sdpa',
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.clip = load_pretrained(
            self.model_class,
            clip,
            attn_implementation=attn_implementation,
            dtype='float32',
        )
        self.embed_dims = self.clip.config.projection_dim
        tower = getattr(self.clip, self.tower)
        layers = tower.encoder.layers
        front = [getattr(tower, name) for name in self.front]
        freeze_lower_layers(front, layers, frozen_layers)
        if gradient_checkpointing:
            checkpoint_layers(self.clip)


@MODELS.register_module()
class CLIPTextEncoder(CLIPTower):
    """Words and sentence of a caption, in the space that CLIP shares.

    A word is the last hidden state after the final layer norm and the text
    projection; the sentence is the same at the end token. A paragraph that
    comes as K rows of words (``long_text='sentences'`` of
    :class:`TokenizeText`) is encoded row by row: its words are those of all
    rows, its sentence feature is the mean of theirs, a unit vector again.

    Arguments are those of :class:`CLIPTower`.

    Example:
        >>> encoder = CLIPTextEncoder('mmtvr://moving-shapes-clip')
    """

    model_class = CLIPTextModelWithProjection
    tower = 'text_model'
    front = ('embeddings',)

    def forward(
        self, tokens: Tensor, mask: Tensor, weight: Tensor | None = None
    ) -> TokenFeatures:
        """Encode captions.

        Args:
            tokens: Shape (B, L) or (B, K, L), int64: start token, word
                pieces, end token, padding.
            mask: Like ``tokens``, bool, True up to and with the end token;
                all False for a row of a paragraph that is not needed.
            weight: Like ``tokens``, or None: textual attention, passed on.

        Returns:
            Features of B captions, float32; (B, K * L) words of paragraphs.

        Raises:
            SetupError: If L exceeds the positions of this CLIP.
        """
        positions = self.clip.config.max_position_embeddings
        if tokens.shape[-1] > positions:
            raise SetupError(
                f'captions have {tokens.shape[-1]} word pieces, but this CLIP '
                f'has {positions} positions; set max_words of '
                f'mmtvr.TokenizeText to {positions} or less'
            )
        return encode_rows(self._encode, tokens, mask, weight)

    def _encode(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Encode N rows to words (N, L, D) and sentences (N, D)."""
        # Attention is causal, so what is behind the end token cannot reach
        # the words before it and needs no mask.
        hidden = self.clip.text_model(input_ids=tokens).last_hidden_state
        words = to_unit(self.clip.text_projection(hidden))
        end = mask.sum(dim=1) - 1
        return words, words[arange(len(words), device=words.device), end]


@MODELS.register_module()
class CLIPFrameEncoder(CLIPTower):
    """Frames of a video, each by CLIP's image tower.

    A frame is the class token after the last layer norm and the visual
    projection. The frames of all videos go through the tower in one batch.

    Args:
        clip: See :class:`CLIPTower`.
        raw_frames: Give the projections as they are, not unit vectors, to
            the ``temporal`` of the retriever, which scales them; ``pooled``
            is a unit vector all the same.
        motion: Options of :class:`mmtvr.models.encoders.motion.FrameMotion`,
            whose vectors are added to the unit frames: ``dict()`` for its
            defaults, None for frames alone. Its weights come from
            ``motion.safetensors`` in the folder of ``clip``, if that is there.
        **kwargs: Other arguments of :class:`CLIPTower`.

    Example:
        >>> encoder = CLIPFrameEncoder('mmtvr://moving-shapes-clip')
    """

    model_class = CLIPVisionModelWithProjection
    tower = 'vision_model'
    front = ('embeddings', 'pre_layrnorm')

    def __init__(
        self,
        clip: str,
        *,
        raw_frames: bool = False,
        motion: dict | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(clip, **kwargs)
        self.raw_frames = raw_frames
        self.motion = None
        if motion is not None:
            self.motion = FrameMotion(self.embed_dims, **motion)
            load_motion(self.motion, clip)

    def forward(self, frames: Tensor, mask: Tensor) -> TokenFeatures:
        """Encode the frames of videos.

        Args:
            frames: Shape (V, T, 3, H, W), normalised.
            mask: Shape (V, T), bool, True for real frames.

        Returns:
            Features of V videos, float32; ``pooled`` is the mean of the real
            frames as a unit vector.

        Raises:
            SetupError: If H or W is not the image size of this CLIP.
        """
        size = self.clip.config.image_size
        if tuple(frames.shape[-2:]) != (size, size):
            height, width = frames.shape[-2:]
            raise SetupError(
                f'frames are {width}x{height}, but this CLIP reads '
                f"{size}x{size}; set dict(type='mmaction.CenterCrop', "
                f'crop_size={size}) and the Resize before it'
            )
        encoded = self.clip(pixel_values=frames.flatten(0, 1)).image_embeds
        encoded = encoded.unflatten(0, mask.shape)
        if self.motion is not None:
            encoded = to_unit(encoded) + self.motion(frames, mask)
        video = features_of_frames(encoded, mask)
        return video._replace(tokens=encoded) if self.raw_frames else video
