"""Transformers over the frames of a video."""

from mmengine.model import BaseModule
from torch import Tensor, arange, cat, nn, no_grad, sigmoid
from transformers import CLIPTextModel
from transformers.models.clip.modeling_clip import CLIPEncoderLayer

from mmtvr.errors import SetupError
from mmtvr.ops import features_of_frames, to_unit
from mmtvr.pretrained import load_pretrained
from mmtvr.registry import MODELS
from mmtvr.structures import TokenFeatures

HEAD_DIMS = 64


def quick_gelu(x: Tensor) -> Tensor:
    """CLIP's activation, ``x * sigmoid(1.702 x)``."""
    return x * sigmoid(1.702 * x)


@MODELS.register_module()
class FrameTransformer(BaseModule):
    """Let frames see each other: ``seqTransf`` of CLIP4Clip.

    Positions are added to the frames, pre-norm transformer layers follow
    with padded frames masked, and the input is added to the output
    (arXiv:2104.08860, Sec. 3.3). Unlike there and in DMAE's released code the
    sum is scaled to unit length again: heads expect cosines.

    CLIP4Clip, TS2-Net and DRL feed the projections as they are, which
    ``raw_frames=True`` of the frame encoder gives; DMAE's released code feeds
    unit vectors, the default of our encoders.

    Args:
        embed_dims: Width D of the frames.
        num_layers: Transformer layers.
        num_heads: Attention heads; None for one per 64 dimensions, at least
            one, or those of ``clip``.
        max_frames: Rows of the position table.
        clip: A CLIP whose first text layers and positions initialise this
            module, as CLIP4Clip does; its text width must be ``embed_dims``.
            None for random weights.
        init_cfg: Initialisation of mmengine.

    Raises:
        SetupError: If the CLIP does not have that width, that many layers or
            positions.
    """

    def __init__(
        self,
        embed_dims: int = 512,
        num_layers: int = 4,
        num_heads: int | None = None,
        max_frames: int = 77,
        clip: str | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        donor = clip and load_pretrained(CLIPTextModel, clip)
        if donor:
            config = donor.config
            _check_donor(config, clip, embed_dims, num_layers, max_frames)
            num_heads = num_heads or config.num_attention_heads
        hidden = config.intermediate_size if donor else 4 * embed_dims
        self.positions = nn.Embedding(max_frames, embed_dims)
        nn.init.normal_(self.positions.weight, std=0.01)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                embed_dims,
                num_heads or max(1, embed_dims // HEAD_DIMS),
                dim_feedforward=hidden,
                dropout=0.0,
                activation=quick_gelu,
                layer_norm_eps=1e-12,
                batch_first=True,
                norm_first=True,
            )
            for _ in range(num_layers)
        )
        if donor:
            self._copy_from(donor)

    def forward(self, video: TokenFeatures) -> TokenFeatures:
        """Encode the order of the T frames of V videos.

        Raises:
            SetupError: If T exceeds the position table.
        """
        x = video.tokens + _first_positions(self, video)
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=~video.mask)
        return features_of_frames(x + video.tokens, video.mask)

    @no_grad()
    def _copy_from(self, donor: CLIPTextModel) -> None:
        table = donor.embeddings.position_embedding.weight
        self.positions.weight.copy_(table[: len(self.positions.weight)])
        for layer, source in zip(
            self.layers, donor.encoder.layers, strict=False
        ):
            _copy_layer(layer, source)


@MODELS.register_module()
class ResidualFrameTransformer(BaseModule):
    r"""Let frames see each other in a branch that starts at zero.

    With frames :math:`x`, their unit vectors :math:`u` and pre-norm
    transformer layers f,

    .. math:: y = x + \lVert x \rVert \,
        W\, \mathrm{LayerNorm}(f(\sqrt D\, u + p)), \quad W = 0

    at the start, scaled to unit length. So training starts from the model
    without it, bit for bit on raw frames (``raw_frames=True`` of the frame
    encoder) and up to rounding on unit vectors, and a pretrained order of
    videos is not lost.

    Args:
        embed_dims: Width D of the frames.
        num_layers: Transformer layers.
        num_heads: Attention heads; None for one per 64 dimensions, four at
            least.
        max_frames: Rows of the position table.
        init_cfg: Initialisation of mmengine.

    Example:
        >>> temporal = dict(
        ...     type='mmtvr.ResidualFrameTransformer', embed_dims=512)
    """

    def __init__(
        self,
        embed_dims: int = 512,
        num_layers: int = 2,
        num_heads: int | None = None,
        max_frames: int = 77,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.positions = nn.Embedding(max_frames, embed_dims)
        nn.init.normal_(self.positions.weight, std=0.1)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                embed_dims,
                num_heads or max(4, embed_dims // HEAD_DIMS),
                dim_feedforward=4 * embed_dims,
                dropout=0.0,
                activation='gelu',
                batch_first=True,
                norm_first=True,
            )
            for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(embed_dims)
        self.out = nn.Linear(embed_dims, embed_dims)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, video: TokenFeatures) -> TokenFeatures:
        """Encode the order of the T frames of V videos.

        Raises:
            SetupError: If T exceeds the position table.
        """
        frames = video.tokens.masked_fill(~video.mask[..., None], 0.0)
        x = frames.shape[-1] ** 0.5 * to_unit(frames)
        x = x + _first_positions(self, video)
        # Without any frame to look at, attention would give NaN.
        hidden = ~video.mask & video.mask.any(dim=1, keepdim=True)
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=hidden)
        length = frames.norm(dim=-1, keepdim=True)
        branch = length * self.out(self.norm(x))
        return features_of_frames(video.tokens + branch, video.mask)


def _first_positions(module: nn.Module, video: TokenFeatures) -> Tensor:
    frames, table = video.mask.shape[1], module.positions
    if frames > table.num_embeddings:
        raise SetupError(
            f'videos have {frames} frames, but mmtvr.{type(module).__name__} '
            f'has max_frames={table.num_embeddings}'
        )
    return table(arange(frames, device=video.mask.device))


def _copy_layer(
    layer: nn.TransformerEncoderLayer, source: CLIPEncoderLayer
) -> None:
    attention = source.self_attn
    projections = (attention.q_proj, attention.k_proj, attention.v_proj)
    layer.self_attn.in_proj_weight.copy_(cat([p.weight for p in projections]))
    layer.self_attn.in_proj_bias.copy_(cat([p.bias for p in projections]))
    for target, module in (
        (layer.self_attn.out_proj, attention.out_proj),
        (layer.norm1, source.layer_norm1),
        (layer.norm2, source.layer_norm2),
        (layer.linear1, source.mlp.fc1),
        (layer.linear2, source.mlp.fc2),
    ):
        target.load_state_dict(module.state_dict())


def _check_donor(
    config: object, clip: str, width: int, layers: int, frames: int
) -> None:
    for what, wanted, there in (
        ('max_frames', frames, config.max_position_embeddings),
        ('num_layers', layers, config.num_hidden_layers),
    ):
        if wanted > there:
            raise SetupError(
                f'mmtvr.FrameTransformer cannot start from {clip}: '
                f'{what}={wanted}, but its text tower has {there}'
            )
    if width != config.hidden_size:
        raise SetupError(
            f'mmtvr.FrameTransformer cannot start from {clip}: embed_dims='
            f'{width}, but its text tower has width {config.hidden_size}; '
            'set clip=None for random weights'
        )
