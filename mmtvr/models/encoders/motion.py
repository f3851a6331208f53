"""What moves between the frames of a video, from their differences."""

from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor, cat, nn
from torch.nn.functional import avg_pool2d, gelu

from mmtvr.errors import SetupError
from mmtvr.pretrained import resolve_pretrained

#: In the folder of a CLIP that was pretrained with it.
FILE = 'motion.safetensors'


class FrameMotion(nn.Module):
    r"""A vector per frame for what moves before and after it.

    An image tower sees each frame alone, so nothing in its frames says what
    moves. Here the differences to the frame before and to the frame after go
    through two convolutions, are averaged over space, wherever something
    moves, and are projected to the width of frames. Convolutions have no
    bias: where nothing moves they give 0.

    The projection does not start at zero. As long as words of motion make no
    difference to the text tower and motion none to the frames, neither has a
    gradient.

    Args:
        embed_dims: Width D of the frames.
        channels: Channels of the first convolution, half those of the second.
        cell: Size in pixels of the cells that frames are averaged over first.
    """

    #: Length of the vectors at the start, beside unit frames.
    START = 0.6

    def __init__(
        self, embed_dims: int, channels: int = 32, cell: int = 3
    ) -> None:
        super().__init__()
        self.cell = cell
        self.conv1 = nn.Conv2d(6, channels, 5, padding=2, bias=False)
        self.conv2 = nn.Conv2d(
            channels, 2 * channels, 3, stride=2, padding=1, bias=False
        )
        self.norm = nn.LayerNorm(2 * channels)
        self.out = nn.Linear(2 * channels, embed_dims)
        size = (2 * channels * embed_dims) ** 0.5
        nn.init.normal_(self.out.weight, std=self.START / size)
        nn.init.zeros_(self.out.bias)

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        """Encode the motion in videos.

        Args:
            frames: Shape (V, T, 3, H, W), normalised.
            mask: Shape (V, T), bool, True for real frames.

        Returns:
            Shape (V, T, D), 0 at padding.
        """
        cells = avg_pool2d(frames.flatten(0, 1), self.cell)
        cells = cells.unflatten(0, mask.shape)
        both = (mask[:, 1:] & mask[:, :-1])[..., None, None, None]
        step = (cells[:, 1:] - cells[:, :-1]).masked_fill(~both, 0.0)
        edge = cells.new_zeros(len(cells), 1, *cells.shape[2:])
        pair = cat([cat([step, edge], 1), cat([edge, step], 1)], 2)[mask]
        found = gelu(self.conv2(gelu(self.conv1(pair)))).mean(dim=(2, 3))
        found = self.out(self.norm(found))
        motion = found.new_zeros(*mask.shape, found.shape[-1])
        return motion.index_put((mask,), found)


def load_motion(motion: FrameMotion, clip: str) -> bool:
    """Load the weights in the folder of a CLIP, if it has any.

    Returns:
        Whether there are weights.

    Raises:
        SetupError: They are of another size.
    """
    path = Path(resolve_pretrained(clip), FILE)
    if not path.is_file():
        return False
    try:
        motion.load_state_dict(load_file(path))
    except RuntimeError as error:
        raise SetupError(
            f'{path} does not fit motion=dict(...) of '
            f'mmtvr.CLIPFrameEncoder, take out its options: {error}'
        ) from error
    return True
