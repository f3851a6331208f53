"""Unit vectors of tokens, and the precision they are compared in."""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from mmtvr.structures import TokenFeatures


def to_unit(x: Tensor) -> Tensor:
    """Scale the last axis to length 1, in float32 or wider; 0 stays 0."""
    if x.element_size() < 4:
        x = x.float()
    return normalize(x, dim=-1)


def features_of_frames(frames: Tensor, mask: Tensor) -> TokenFeatures:
    """Make video features: unit frames and their mean, a unit vector too.

    Args:
        frames: Shape (V, T, D), of any length.
        mask: Shape (V, T), bool, True for real frames. Padding does not
            count in the mean.
    """
    tokens = to_unit(frames)
    total = tokens.masked_fill(~mask[..., None], 0).sum(dim=1)
    return TokenFeatures(tokens, mask, to_unit(total))


def autocast_off(tensor: Tensor) -> torch.autocast:
    """Switch automatic mixed precision off on the device of a tensor.

    A cosine rounded to bfloat16 is off by up to 0.002. Times a logit scale of
    100 that is 0.2 in the exponent of a softmax.
    """
    return torch.autocast(device_type=tensor.device.type, enabled=False)


def wide_dtype(*tensors: Tensor) -> torch.dtype:
    """The widest type among floating point tensors and float32.

    So half precision becomes float32, and float64 stays.
    """
    dtype = torch.float32
    for tensor in tensors:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return dtype


def full_precision(*features: TokenFeatures) -> tuple[TokenFeatures, ...]:
    """Bring features to one type, the :func:`wide_dtype` of all of them."""
    dtype = wide_dtype(
        *(x for side in features for x in (side.tokens, side.pooled))
    )
    return tuple(
        TokenFeatures(
            tokens=side.tokens.to(dtype),
            mask=side.mask,
            pooled=side.pooled.to(dtype),
            weight=None if side.weight is None else side.weight.to(dtype),
        )
        for side in features
    )
