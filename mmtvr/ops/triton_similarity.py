"""Max-similarity on a GPU: one Triton kernel forward, two backward.

A program holds the products of a tile of texts and videos in registers, finds
both maxima there and writes scores and the numbers of the best tokens, a byte
each. Backward rebuilds the slopes of a tile from these numbers on the fly.
"""

from typing import Any

import torch
import triton
from torch import Tensor
from torch.autograd.function import once_differentiable

from .triton_backward import give_frames, give_words
from .triton_forward import compare_tiles
from .triton_tiles import choose_precision, choose_tile


class TritonMaxSimilarity(torch.autograd.Function):
    """:func:`mmtvr.ops.max_similarity.max_similarity` for fixed weights.

    Tokens in half precision are multiplied as they are and summed in float32;
    slopes are rounded to their type before the products of backward.
    """

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
        needs_grad: bool,
    ) -> tuple[Tensor, Tensor]:
        """Compare all words with all frames.

        Args:
            ctx: Of autograd.
            words: Shape (B, L, D).
            word_mask: Shape (B, L), bool.
            word_weight: Shape (B, L), float32.
            frames: Shape (V, T, D), the type of ``words``.
            frame_mask: Shape (V, T), bool.
            frame_weight: Shape (V, T), float32.
            factor: Shape (V, T), float32, or None.
            index: Shape (V, T), int64, or None.
            needs_grad: Whether to keep the numbers of the best tokens.

        Returns:
            Both means, each (B, V), float32.
        """
        words, frames = words.contiguous(), frames.contiguous()
        (texts, length, width), (videos, size, _) = words.shape, frames.shape
        tile = choose_tile(words, frames)
        numbers = dict(dtype=torch.uint8, device=words.device)
        kept = (texts, length, videos), (texts, videos, size)
        best_frame, best_word = (
            torch.empty(shape if needs_grad else 0, **numbers)
            for shape in kept
        )
        scores = dict(dtype=torch.float32, device=words.device)
        of_words = torch.empty(texts, videos, **scores)
        of_frames = torch.empty(texts, videos, **scores)
        tables = [
            None if each is None else each.contiguous()
            for each in (
                word_mask,
                frame_mask,
                word_weight,
                frame_weight,
                factor,
                index,
            )
        ]
        grid = triton.cdiv(texts, tile.texts), triton.cdiv(videos, tile.videos)
        if texts and videos:
            compare_tiles[grid](
                words,
                frames,
                *tables,
                of_words,
                of_frames,
                best_frame,
                best_word,
                texts,
                videos,
                length,
                size,
                width,
                PRECISION=choose_precision(),
                HAS_SECOND=factor is not None,
                KEEP=needs_grad,
                BB=tile.texts,
                LP=tile.words,
                BV=tile.videos,
                TP=tile.frames,
                BK=64,
                num_warps=8,
            )
        ctx.save_for_backward(words, frames, *tables, best_frame, best_word)
        return of_words, of_frames

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad_words: Tensor, grad_frames: Tensor
    ) -> tuple[Tensor | None, ...]:
        """Give the gradients of words, frames and factor.

        Args:
            ctx: Of autograd.
            grad_words: Shape (B, V).
            grad_frames: Shape (B, V).

        Returns:
            One per argument of ``forward``.
        """
        words, frames, *tables, best_frame, best_word = ctx.saved_tensors
        word_mask, frame_mask, word_weight, frame_weight = tables[:4]
        factor, index = tables[4:]
        (texts, length, width), (videos, size, _) = words.shape, frames.shape
        tile = choose_tile(words, frames)
        grads = grad_words.contiguous(), grad_frames.contiguous()
        sizes = texts, videos, length, size, width
        options = dict(
            PRECISION=choose_precision(),
            BB=tile.texts,
            LP=tile.words,
            BV=tile.videos,
            TP=tile.frames,
            BD=64,
            num_warps=8,
        )
        depth = triton.cdiv(width, 64)
        to_words = torch.empty_like(words)
        by_best = torch.zeros_like(frames, dtype=torch.float32)
        by_word = torch.zeros_like(by_best)
        if texts and videos:
            give_words[triton.cdiv(texts, tile.texts), depth](
                frames,
                frame_mask,
                word_weight,
                frame_weight,
                factor,
                index,
                best_frame,
                best_word,
                *grads,
                to_words,
                *sizes,
                HAS_SECOND=factor is not None,
                **options,
            )
            give_frames[triton.cdiv(videos, tile.videos), depth](
                words,
                word_mask,
                word_weight,
                frame_weight,
                best_frame,
                best_word,
                *grads,
                by_best,
                by_word,
                *sizes,
                **options,
            )
        to_frames, to_factor = by_best + by_word, None
        if factor is not None:
            # The score of the second frame is linear in it: what its first
            # frame received from the words is all that it needs.
            place = index[..., None].expand_as(frames)
            second = frames.float().gather(1, place)
            to_factor = torch.where(frame_mask, (by_best * second).sum(-1), 0)
            to_frames.scatter_add_(1, place, factor[..., None] * by_best)
        return (
            to_words,
            None,
            None,
            to_frames.to(frames.dtype),
            None,
            None,
            to_factor,
            None,
            None,
        )
