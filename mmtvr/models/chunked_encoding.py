"""Encode a large batch in the activation memory of a small one."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from mmtvr.errors import SetupError
from mmtvr.structures import TokenFeatures


def check_chunk(chunk: int | None = None) -> int:
    """Check the setting ``cached_contrastive=dict(chunk=...)``.

    Args:
        chunk: Captions or videos to encode at a time; None encodes in one
            pass.

    Returns:
        The same number, or 0 for None.

    Raises:
        SetupError: If it is not at least 1.
    """
    if chunk is None:
        return 0
    if chunk < 1:
        raise SetupError(
            f'cached_contrastive=dict(chunk={chunk}) must be at least 1: the '
            'number of captions or videos that are encoded at a time'
        )
    return chunk


def encode_in_chunks(
    encode: Callable[..., TokenFeatures], chunk: int, *inputs: Tensor | None
) -> TokenFeatures:
    """Encode some rows at a time, and again when their gradient is there.

    This is gradient caching (arXiv:2101.06983): features are computed without
    activations being kept, the loss over all of them gives their gradients,
    and each chunk is then encoded a second time, with its activations, for
    the gradients of the parameters. The random numbers of the first time,
    such as dropout, and its autocast are used again. Features and gradients
    are those of one pass, up to rounding; an encoder with batch
    normalisation sees chunks.

    Args:
        encode: From inputs with n rows to features of n rows.
        chunk: Rows at a time.
        *inputs: Tensors of N rows each; None is passed on.

    Returns:
        Features of N rows.
    """
    rows = next(len(each) for each in inputs if each is not None)
    parts = [
        checkpoint(
            encode,
            *(
                None if each is None else each[start : start + chunk]
                for each in inputs
            ),
            use_reentrant=False,
        )
        for start in range(0, rows, chunk)
    ]
    return TokenFeatures(
        *(
            None if fields[0] is None else torch.cat(fields)
            for fields in zip(*parts, strict=True)
        )
    )
