"""Similarities and losses are computed in float32 or wider."""

import torch
from torch import Tensor

from mmtvr.structures import TokenFeatures


def autocast_off(tensor: Tensor) -> torch.autocast:
    """Switch automatic mixed precision off where a tensor lives.

    A cosine rounded to bfloat16 is off by up to 0.002. Times a logit scale of
    100 that is 0.2 in the exponent of a softmax.

    Args:
        tensor: Any tensor; only its device is looked at.

    Returns:
        A context manager.
    """
    return torch.autocast(device_type=tensor.device.type, enabled=False)


def wide_dtype(*tensors: Tensor) -> torch.dtype:
    """Type to compute in.

    Args:
        *tensors: Tensors in any floating point types.

    Returns:
        The widest type among them and float32, so that half precision
        becomes float32 and float64 stays.
    """
    dtype = torch.float32
    for tensor in tensors:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return dtype


def full_precision(*features: TokenFeatures) -> tuple[TokenFeatures, ...]:
    """Bring features to one floating point type, float32 at the least.

    Args:
        *features: Features in any floating point types.

    Returns:
        The same features in :func:`wide_dtype` of all tokens and pooled
        vectors.
    """
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
