"""Max-similarity in blocks, with a gradient that recomputes nothing."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .product_blocks import (
    add_at,
    best_frames,
    cells,
    first_equal,
    index_type,
    mark_padding,
    places,
    products,
    text_rows,
    tokens_first,
    transposed,
    weighted_sum,
)


class BlockedMaxSimilarity(torch.autograd.Function):
    """Both means of :func:`mmtvr.ops.max_similarity.max_similarity`."""

    @staticmethod
    def forward(
        ctx: Any,
        words: Tensor,
        word_mask: Tensor,
        word_weight: Tensor,
        frames: Tensor,
        frame_mask: Tensor,
        frame_weight: Tensor,
        factor: Tensor | None,
        index: Tensor | None,
        block_bytes: int,
    ) -> tuple[Tensor, Tensor]:
        """Compare all words with all frames.

        Args:
            ctx: Of autograd.
            words: Shape (B, L, D).
            word_mask: Shape (B, L), bool.
            word_weight: Shape (B, L), the type of ``words``.
            frames: Shape (V, T, D), the type of ``words``.
            frame_mask: Shape (V, T), bool.
            frame_weight: Shape (V, T), the type of ``words``.
            factor: Shape (V, T), the type of ``words``, or None.
            index: Shape (V, T), int64, or None.
            block_bytes: Memory in bytes for the products of a block.

        Returns:
            Both means, each (B, V).
        """
        words = mark_padding(words, word_mask, 0)
        frames = tokens_first(frames, frame_mask)
        frame_weight, factor, index = transposed(frame_weight, factor, index)
        (texts, length), (size, videos) = word_mask.shape, frames.shape[:2]
        per_word, per_frame = (texts, length, videos), (texts, size, videos)
        best_frame = frames.new_empty(per_word, dtype=index_type(size))
        best_word = frames.new_empty(per_frame, dtype=index_type(length))
        second = None if index is None else frames.new_empty(per_word)
        needs = ctx.needs_input_grad
        frame_max = frames.new_empty(per_word) if needs[2] else None
        word_max = frames.new_empty(per_frame) if needs[5] else None
        of_words = frames.new_empty(texts, videos)
        of_frames = torch.empty_like(of_words)
        for rows, product in products(words, frames, block_bytes):
            best, best_frame[rows], other = best_frames(product, factor, index)
            of_words[rows] = weighted_sum(word_weight[rows, :, None], best)
            if second is not None:
                second[rows] = other
            if frame_max is not None:
                frame_max[rows] = best
            best = product.amax(1)
            best_word[rows] = first_equal(product, best, 1)
            of_frames[rows] = weighted_sum(frame_weight, best)
            if word_max is not None:
                word_max[rows] = best
        ctx.block_bytes = block_bytes
        ctx.save_for_backward(
            words,
            word_weight,
            frames,
            frame_weight,
            factor,
            index,
            best_frame,
            best_word,
            second,
            frame_max,
            word_max,
        )
        return of_words, of_frames

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad_words: Tensor, grad_frames: Tensor
    ) -> tuple[Tensor | None, ...]:
        """Give the gradients of tokens, weights and factor.

        Args:
            ctx: Of autograd.
            grad_words: Shape (B, V).
            grad_frames: Shape (B, V).

        Returns:
            One per argument of ``forward``.
        """
        (
            words,
            word_weight,
            frames,
            frame_weight,
            factor,
            index,
            best_frame,
            best_word,
            second,
            frame_max,
            word_max,
        ) = ctx.saved_tensors
        width = words.shape[2] - 2
        to_words = words.new_empty(*words.shape[:2], width)
        to_frames = frames.new_zeros(*frames.shape[:2], width)
        to_factor = None if factor is None else torch.zeros_like(factor)
        for rows, slope in text_rows(words, frames, ctx.block_bytes):
            per_word = word_weight[rows, :, None] * grad_words[rows, None]
            per_frame = grad_frames[rows, None] * frame_weight
            cell = cells(best_frame[rows])
            slope.zero_().scatter_(
                1, best_word[rows].long()[:, None], per_frame[:, None]
            )
            add_at(slope, places(cell, slope), per_word)
            if factor is not None:
                add_at(to_factor, cell, per_word * second[rows])
                per_word *= factor.take(cell)
                other = cells(index.take(cell))
                add_at(slope, places(other, slope), per_word)
            slope = slope.flatten(2).flatten(0, 1)
            torch.mm(
                slope,
                frames.flatten(0, 1)[:, :width],
                out=to_words[rows].flatten(0, 1),
            )
            to_frames.flatten(0, 1).addmm_(
                slope.mT, words[rows].flatten(0, 1)[:, :width]
            )
        to_word_weight = to_frame_weight = None
        if frame_max is not None:
            to_word_weight = torch.einsum('blv,bv->bl', frame_max, grad_words)
        if word_max is not None:
            to_frame_weight = torch.einsum('btv,bv->vt', word_max, grad_frames)
        return (
            to_words,
            None,
            to_word_weight,
            to_frames.transpose(0, 1),
            None,
            to_frame_weight,
            None if to_factor is None else to_factor.mT,
            None,
            None,
        )
