"""A linear layer behind a gain that differs from token to token."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def gained_linear(
    mixed: Tensor, keys: Tensor, gain: Tensor, linear: Tensor
) -> Tensor:
    """Compute U (w_k * [q_k ; x_k]) for each token k of each pair.

    Equal to multiplying the block of both halves by the gain and then by U,
    but one token after the other with the gain in the matrix, so that neither
    block nor a matrix for all tokens comes into memory.

    Args:
        mixed: First halves q, shape (n, B, D).
        keys: Second halves x, shape (B, n, D).
        gain: The gain w of each token, shape (n, 2 D).
        linear: The matrix U, shape (H, 2 D).

    Returns:
        Shape (n, B, H). Differentiable once.
    """
    return _GainedLinear.apply(mixed, keys, gain, linear)


class _GainedLinear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, mixed: Tensor, keys: Tensor, gain: Tensor, linear: Tensor
    ) -> Tensor:
        ctx.save_for_backward(mixed, keys, gain, linear)
        width = keys.shape[2]
        result = mixed.new_empty(*mixed.shape[:2], len(linear))
        for token, weight in enumerate(gain):
            matrix = (weight * linear).mT
            torch.mm(mixed[token], matrix[:width], out=result[token])
            result[token].addmm_(keys[:, token], matrix[width:])
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        mixed, keys, gain, linear = ctx.saved_tensors
        width = keys.shape[2]
        to_mixed, to_keys = torch.empty_like(mixed), torch.empty_like(keys)
        to_gain, to_linear = torch.empty_like(gain), torch.zeros_like(linear)
        to_matrix = torch.empty_like(linear)
        for token, weight in enumerate(gain):
            matrix, slope = weight * linear, grad[token]
            torch.mm(slope, matrix[:, :width], out=to_mixed[token])
            to_keys[:, token] = slope @ matrix[:, width:]
            to_matrix[:, :width] = slope.mT @ mixed[token]
            to_matrix[:, width:] = slope.mT @ keys[:, token]
            to_linear.addcmul_(to_matrix, weight)
            to_gain[token] = (to_matrix * linear).sum(0)
        return to_mixed, to_keys, to_gain, to_linear
