"""CLIP's towers as caption and frame encoders."""

from collections.abc import Callable
from typing import Any

from mmengine.model import BaseModule
from torch import Tensor, arange, nn, ones_like
from transformers import (
    CLIPTextModelWithProjection,
    CLIPVisionModelWithProjection,
    PreTrainedModel,
)

from mmtvr.errors import SetupError
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
    join: bool = True,
) -> TokenFeatures:
    """Encode captions, or paragraphs row by row.

    Args:
        encode: From N rows (N, L) of tokens and mask to unit words (N, L, D)
            and sentences (N, D).
        tokens: Shape (B, L), or (B, K, L) for paragraphs of K rows.
        mask: Like ``tokens``; all False for a row that is not needed.
        weight: Like ``tokens``, or None.
        join: Whether to join the sentences of a paragraph; they are
            (B, K, D) otherwise, zero where a row is not needed.

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
    pooled = sentences.new_zeros(*used.shape, sentences.shape[-1])
    pooled = pooled.index_put((used,), sentences)
    return TokenFeatures(
        words.flatten(1, 2),
        mask.flatten(1),
        to_unit(pooled.sum(dim=1)) if join else pooled,
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
    #: ``before_layers`` and ``layers`` are their paths from the encoder.
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
        place = f'clip.{self.tower}'
        self.before_layers = [f'{place}.{name}' for name in self.front]
        self.layers = [f'{place}.encoder.layers']
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

    Args:
        query_expansion: Whether padding counts as words (Video-ColBERT,
            arXiv:2503.19009): each caption then has all L tokens, and what
            the tower makes of padding, which sees the caption before it, can
            stand for what the caption does not say. Not for paragraphs of
            several rows.
        **tower: Those of :class:`CLIPTower`.

    Example:
        >>> encoder = CLIPTextEncoder('mmtvr://moving-shapes-clip')
    """

    model_class = CLIPTextModelWithProjection
    tower = 'text_model'
    front = ('embeddings',)
    projections = ('clip.text_projection',)

    def __init__(
        self, clip: str, *, query_expansion: bool = False, **tower: Any
    ) -> None:
        super().__init__(clip, **tower)
        self.query_expansion = query_expansion

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
        self._check_length(tokens)
        features = encode_rows(self._encode, tokens, mask, weight)
        if not self.query_expansion:
            return features
        if tokens.ndim > 2:
            raise SetupError(
                'query_expansion=True is for captions of one row: set '
                "long_text='truncate' in mmtvr.TokenizeText"
            )
        if weight is not None:
            weight = weight.masked_fill(~mask, 1.0)
        return features._replace(mask=ones_like(mask), weight=weight)

    def extract(
        self, tokens: Tensor, mask: Tensor, weight: Tensor | None = None
    ) -> TokenFeatures:
        """Encode captions up to the projection, see :meth:`forward`.

        Returns:
            Hidden states in place of features; ``pooled`` is (B, K, H) for
            paragraphs.

        Raises:
            SetupError: With ``query_expansion``, whose words are padding,
                which is not stored.
        """
        if self.query_expansion:
            raise SetupError(
                'query_expansion=True needs the padding of captions, which '
                'frozen features do not hold: leave out one of them'
            )
        self._check_length(tokens)
        return encode_rows(self._run, tokens, mask, weight, join=False)

    def project(self, raw: TokenFeatures) -> TokenFeatures:
        """Project what :meth:`extract` returned."""
        sentence = to_unit(self.clip.text_projection(raw.pooled))
        if sentence.ndim == 3:
            sentence = to_unit(sentence.sum(dim=1))
        words = to_unit(self.clip.text_projection(raw.tokens))
        return raw._replace(tokens=words, pooled=sentence)

    def _check_length(self, tokens: Tensor) -> None:
        positions = self.clip.config.max_position_embeddings
        if tokens.shape[-1] > positions:
            raise SetupError(
                f'captions have {tokens.shape[-1]} word pieces, but this CLIP '
                f'has {positions} positions; set max_words of '
                f'mmtvr.TokenizeText to {positions} or less'
            )

    def _encode(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Encode N rows to words (N, L, D) and sentences (N, D)."""
        hidden, _ = self._run(tokens, mask)
        words = to_unit(self.clip.text_projection(hidden))
        return words, _at_end(words, mask)

    def _run(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden states of N rows, all (N, L, H) and the last (N, H)."""
        # Attention is causal, so what is behind the end token cannot reach
        # the words before it and needs no mask.
        hidden = self.clip.text_model(input_ids=tokens).last_hidden_state
        return hidden, _at_end(hidden, mask)


def _at_end(words: Tensor, mask: Tensor) -> Tensor:
    end = mask.sum(dim=1) - 1
    return words[arange(len(words), device=words.device), end]


@MODELS.register_module()
class CLIPFrameEncoder(CLIPTower):
    """Frames of a video, each by CLIP's image tower.

    A frame is the class token after the last layer norm and the visual
    projection. The frames of all videos go through the tower in one batch.

    Arguments are those of :class:`CLIPTower`.

    Example:
        >>> encoder = CLIPFrameEncoder('mmtvr://moving-shapes-clip')
    """

    model_class = CLIPVisionModelWithProjection
    tower = 'vision_model'
    front = ('embeddings', 'pre_layrnorm')
    projections = ('clip.visual_projection',)

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the frames that it reads."""
        return (self.clip.config.image_size,) * 2

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
        self._check_size(frames)
        encoded = self.clip(pixel_values=frames.flatten(0, 1)).image_embeds
        return features_of_frames(encoded.unflatten(0, mask.shape), mask)

    def extract(self, frames: Tensor, mask: Tensor) -> TokenFeatures:
        """Encode frames up to the projection, see :meth:`forward`."""
        self._check_size(frames)
        found = self.clip.vision_model(pixel_values=frames.flatten(0, 1))
        tokens = found.pooler_output.unflatten(0, mask.shape)
        return TokenFeatures(tokens, mask, tokens.new_zeros(len(tokens), 0))

    def project(self, raw: TokenFeatures) -> TokenFeatures:
        """Project what :meth:`extract` returned."""
        frames = self.clip.visual_projection(raw.tokens)
        return features_of_frames(frames, raw.mask)

    def _check_size(self, frames: Tensor) -> None:
        size = self.image_size[0]
        if tuple(frames.shape[-2:]) != self.image_size:
            height, width = frames.shape[-2:]
            raise SetupError(
                f'frames are {width}x{height}, but this CLIP reads '
                f"{size}x{size}; set dict(type='mmaction.CenterCrop', "
                f'crop_size={size}) and the Resize before it'
            )
