"""Any backbone of mmaction2 as a frame encoder."""

from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.functional import adaptive_max_pool1d

from mmtvr.errors import SetupError
from mmtvr.ops import features_of_frames
from mmtvr.registry import MODELS
from mmtvr.structures import TokenFeatures

INPUT_FORMATS = ('NCHW', 'NCTHW')


@MODELS.register_module()
class BackboneFrameEncoder(BaseModule):
    """Frames of a video by a 2D or 3D backbone and a linear projection.

    The last feature map is averaged over space and projected. A 2D backbone
    gives one token per frame. A 3D backbone that shortens time gives fewer;
    one of those is real if any frame in its stretch is.

    Args:
        backbone: Config of a backbone, such as ``dict(type='mmaction.ResNet',
            depth=50)``, or a module.
        in_channels: Channels of the backbone's last feature map.
        embed_dims: Width D of the tokens, that of the text encoder.
        input_format: As in mmaction2's ``FormatShape``: ``'NCHW'`` for 2D
            backbones, TSM and TSN included, which see the frames of all
            videos as one batch; ``'NCTHW'`` for 3D backbones.
        init_cfg: Initialisation of mmengine.

    Raises:
        ValueError: If the input format is unknown.

    Example:
        >>> frame_encoder = dict(
        ...     type='mmtvr.BackboneFrameEncoder',
        ...     backbone=dict(type='mmaction.ResNetTSM', depth=50,
        ...                   num_segments=12, pretrained2d=False),
        ...     in_channels=2048)
    """

    projections = ('projection',)

    def __init__(
        self,
        backbone: dict | nn.Module,
        in_channels: int,
        embed_dims: int = 512,
        input_format: str = 'NCHW',
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if input_format not in INPUT_FORMATS:
            raise ValueError(
                f'input_format must be one of {INPUT_FORMATS}, not '
                f'{input_format!r}'
            )
        self.backbone = (
            MODELS.build(backbone) if isinstance(backbone, dict) else backbone
        )
        self.in_channels = in_channels
        self.embed_dims = embed_dims
        self.input_format = input_format
        self.projection = nn.Linear(in_channels, embed_dims)

    def forward(self, frames: Tensor, mask: Tensor) -> TokenFeatures:
        """Encode the frames of videos.

        Args:
            frames: Shape (V, T, 3, H, W), normalised.
            mask: Shape (V, T), bool, True for real frames.

        Raises:
            SetupError: If the number of frames or of channels does not fit
                the backbone.
        """
        return self.project(self.extract(frames, mask))

    def project(self, raw: TokenFeatures) -> TokenFeatures:
        """Project what :meth:`extract` returned."""
        return features_of_frames(self.projection(raw.tokens), raw.mask)

    def extract(self, frames: Tensor, mask: Tensor) -> TokenFeatures:
        """Run the backbone, see :meth:`forward`; C channels, not D."""
        if self.input_format == 'NCHW':
            self._check_segments(frames.shape[1])
            maps = self._last_map(frames.flatten(0, 1), 4)
            pooled = maps.mean(dim=(2, 3)).unflatten(0, mask.shape)
        else:
            maps = self._last_map(frames.transpose(1, 2), 5)
            pooled = maps.mean(dim=(3, 4)).transpose(1, 2)
            mask = adaptive_max_pool1d(mask.float(), pooled.shape[1]) > 0
        return TokenFeatures(pooled, mask, pooled.new_zeros(len(pooled), 0))

    def _last_map(self, x: Tensor, dims: int) -> Tensor:
        maps = self.backbone(x)
        if isinstance(maps, tuple | list):
            maps = maps[-1]
        if maps.dim() != dims or maps.shape[1] != self.in_channels:
            raise SetupError(
                f'{type(self.backbone).__name__} gives {tuple(maps.shape)}, '
                f'expected {dims} axes with in_channels={self.in_channels} as '
                f'the second; set in_channels, or input_format (now '
                f'{self.input_format!r})'
            )
        return maps

    def _check_segments(self, frames: int) -> None:
        segments = getattr(self.backbone, 'num_segments', frames)
        if segments != frames:
            raise SetupError(
                f'{type(self.backbone).__name__} was built with num_segments='
                f'{segments}, but videos have {frames} frames; set it to '
                'num_frames of mmtvr.LoadVideoFrames'
            )
