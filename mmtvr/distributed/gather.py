"""Gather rows over processes with exact gradients, also of unequal numbers.

Each process computes the whole loss on the gathered rows. Backward sums what
all processes ask of a row and hands it to the owner; after the mean that
``DistributedDataParallel`` takes, every parameter, before or behind the
gather, has the gradient of one process on the union batch.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from mmtvr.structures import TokenFeatures


def world_size() -> int:
    """Number of processes, 1 without a process group."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_world_size()
    return 1


def gather_rows(local: Tensor) -> Tensor:
    """Concatenate the rows of all processes in the order of their ranks.

    Args:
        local: Shape (n, ...), any type; n may differ between processes and
            may be 0, the other sizes are the same everywhere. On the device
            that the process group communicates on.

    Returns:
        Shape (sum of n, ...), the same on every process; ``local`` itself
        where there is one process. Differentiable.
    """
    if world_size() == 1:
        return local
    counts = _gather_counts(local)
    if max(counts) == 0:
        return local
    if local.dtype == torch.bool:
        return _GatherRows.apply(local.to(torch.uint8), counts).bool()
    return _GatherRows.apply(local, counts)


def gather_features(local: TokenFeatures) -> TokenFeatures:
    """Concatenate the features of all processes, all fields in one gather.

    Args:
        local: n captions or videos of this process, with the same number of
            tokens and the same width everywhere, and a weight on every
            process or on none.

    Returns:
        The features of all processes in the order of their ranks.
    """
    if world_size() == 1:
        return local
    length, width = local.tokens.shape[1:]
    fields = [local.tokens.flatten(1), local.pooled, local.mask]
    if local.weight is not None:
        fields.append(local.weight)
    dtype = local.tokens.dtype
    packed = gather_rows(torch.cat([f.to(dtype) for f in fields], dim=1))
    sizes = [length * width, width, length]
    if local.weight is not None:
        sizes.append(length)
    tokens, pooled, mask, *weight = packed.split(sizes, dim=1)
    return TokenFeatures(
        tokens=tokens.unflatten(1, (length, width)),
        mask=mask.detach() > 0.5,
        pooled=pooled.to(local.pooled.dtype),
        weight=weight[0] if weight else None,
    )


def rows_before(local: Tensor) -> int:
    """Number of rows (n, ...) on the processes of lower rank."""
    if world_size() == 1:
        return 0
    return sum(_gather_counts(local)[: dist.get_rank()])


def _gather_counts(local: Tensor) -> list[int]:
    count = torch.tensor([len(local)], device=local.device)
    counts = [torch.empty_like(count) for _ in range(world_size())]
    dist.all_gather(counts, count)
    return torch.cat(counts).tolist()


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, local: Tensor, counts: list[int]) -> Tensor:
        ctx.counts = counts
        padded = local.new_zeros(max(counts), *local.shape[1:])
        padded[: len(local)] = local
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded)
        return torch.cat(
            [part[:n] for part, n in zip(parts, counts, strict=True)]
        )

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total.split(ctx.counts)[dist.get_rank()], None
