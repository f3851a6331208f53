"""Unit vectors and the pooling that keeps them so."""

from torch import Tensor
from torch.nn.functional import normalize

from mmtvr.structures import TokenFeatures


def to_unit(x: Tensor) -> Tensor:
    """Scale the last axis to length 1, in float32 or wider.

    Args:
        x: Shape (..., D), any floating point type.

    Returns:
        Shape (..., D). A zero vector stays zero.
    """
    if x.element_size() < 4:
        x = x.float()
    return normalize(x, dim=-1)


def features_of_frames(frames: Tensor, mask: Tensor) -> TokenFeatures:
    """Make video features: unit frames and their mean, a unit vector too.

    Args:
        frames: Shape (V, T, D), of any length.
        mask: Shape (V, T), bool, True for real frames.

    Returns:
        Features of V videos; padding does not count in the mean.
    """
    tokens = to_unit(frames)
    total = tokens.masked_fill(~mask[..., None], 0).sum(dim=1)
    return TokenFeatures(tokens, mask, to_unit(total))
