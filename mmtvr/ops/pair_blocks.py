"""Text-by-video scores in blocks of texts, to bound memory."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def text_blocks(
    score: Callable[..., Tensor],
    texts: tuple[Tensor, ...],
    *others: Tensor,
    row_bytes: int,
    block_bytes: int,
    random: bool = False,
) -> Tensor:
    """Score all texts, as many at a time as the memory budget allows.

    Where gradients are needed and one block is not enough, a block's
    intermediate values are computed a second time in the backward pass
    instead of being kept. A text is never split: one row is computed even if
    it alone exceeds the budget.

    Args:
        score: Called as ``score(*rows, *others)``. Returns the scores of these
            rows with all videos, shape (rows, V).
        texts: Tensors of B rows each, one row per text.
        *others: Passed whole to each call: the videos, the parameters.
        row_bytes: Memory that the intermediate values of one text take.
        block_bytes: Memory that those of one block may take.
        random: Whether ``score`` draws random numbers (dropout), which are
            then to be the same the second time.

    Returns:
        Shape (B, V).
    """
    rows = max(1, block_bytes // max(1, row_bytes))
    if texts[0].shape[0] <= rows:
        return score(*texts, *others)
    needs_grad = torch.is_grad_enabled() and any(
        tensor.requires_grad for tensor in (*texts, *others)
    )
    blocks = zip(*(tensor.split(rows) for tensor in texts), strict=True)
    if not needs_grad:
        return torch.cat([score(*block, *others) for block in blocks])
    return torch.cat(
        [
            checkpoint(
                score,
                *block,
                *others,
                use_reentrant=False,
                preserve_rng_state=random,
            )
            for block in blocks
        ]
    )
