"""Max-similarity on a GPU: one Triton kernel forward, two backward.

Used where a head has ``kernel='triton'``: so far it ran in Triton's
interpreter only, never on a GPU. Importing this module needs Triton.
"""

# A kernel has pointers and constants for arguments.
# ruff: noqa: ANN001, ANN201, ANN202, D103, N803

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

#: Tokens that a text and a video may have, each, to fit into a tile.
MAX_TOKENS = 128
FAR_BELOW = tl.constexpr(-1e15)


class Tile(NamedTuple):
    """How tokens are laid out in a tile of products.

    Attributes:
        texts: Texts of a tile.
        words: Words of a text, a power of 2.
        videos: Videos of a tile.
        frames: Frames of a video, a power of 2.
    """

    texts: int
    words: int
    videos: int
    frames: int


def choose_tile(words: Tensor, frames: Tensor) -> Tile:
    """Choose the largest tile that the shared memory of small GPUs holds.

    At most 128 x 128 tokens, 64 x 64 in float32.
    """
    side = MAX_TOKENS if words.element_size() == 2 else MAX_TOKENS // 2
    length = triton.next_power_of_2(words.shape[1])
    size = triton.next_power_of_2(frames.shape[1])
    return Tile(max(1, side // length), length, max(1, side // size), size)


def choose_precision() -> str:
    """Triton's ``input_precision`` by PyTorch's setting for float32."""
    return 'tf32' if torch.backends.cuda.matmul.allow_tf32 else 'ieee'


@triton.jit
def place_tokens(
    block: tl.constexpr, size: tl.constexpr, tile, count, length, mask
):  # pragma: no cover
    """Rows of the tokens of a tile in memory, and which of them are real."""
    place = tl.arange(0, block * size)
    item = tile * block + place // size
    token = place % size
    row = item * length + token
    inside = (item < count) & (token < length)
    real = tl.load(mask + row, mask=inside, other=0) != 0
    return row, real


@triton.jit
def compare_tiles(
    words,
    frames,
    word_mask,
    frame_mask,
    word_weight,
    frame_weight,
    factor,
    index,
    of_words,
    of_frames,
    best_frame,
    best_word,
    texts,
    videos,
    length,
    size,
    width,
    PRECISION: tl.constexpr,
    HAS_SECOND: tl.constexpr,
    KEEP: tl.constexpr,
    BB: tl.constexpr,
    LP: tl.constexpr,
    BV: tl.constexpr,
    TP: tl.constexpr,
    BK: tl.constexpr,
):  # pragma: no cover
    top = tl.program_id(0)
    left = tl.program_id(1)
    row, real_row = place_tokens(BB, LP, top, texts, length, word_mask)
    column, real_column = place_tokens(BV, TP, left, videos, size, frame_mask)
    product = tl.zeros((BB * LP, BV * TP), tl.float32)
    for start in range(0, width, BK):
        depth = start + tl.arange(0, BK)
        inside = depth < width
        a = tl.load(
            words + row[:, None].to(tl.int64) * width + depth[None, :],
            mask=real_row[:, None] & inside[None, :],
            other=0.0,
        )
        b = tl.load(
            frames + column[:, None].to(tl.int64) * width + depth[None, :],
            mask=real_column[:, None] & inside[None, :],
            other=0.0,
        )
        product = tl.dot(a, tl.trans(b), product, input_precision=PRECISION)
    product = tl.where(
        real_row[:, None] & real_column[None, :], product, FAR_BELOW
    )
    product = tl.reshape(product, (BB, LP, BV, TP))
    text = top * BB + tl.arange(0, BB)
    word = tl.arange(0, LP)
    video = left * BV + tl.arange(0, BV)
    frame = tl.arange(0, TP)
    word_inside = (text < texts)[:, None] & (word < length)[None, :]
    frame_inside = (video < videos)[:, None] & (frame < size)[None, :]

    score, best = tl.max(product, axis=3, return_indices=True)
    if HAS_SECOND:
        cell = video[None, None, :] * size + best
        real = (video < videos)[None, None, :]
        other = tl.load(index + cell, mask=real, other=0)
        hit = frame[None, None, None, :] == other[:, :, :, None]
        second = tl.sum(tl.where(hit, product, 0.0), axis=3)
        score += tl.load(factor + cell, mask=real, other=0.0) * second
    weight = tl.load(
        word_weight + text[:, None] * length + word[None, :],
        mask=word_inside,
        other=0.0,
    )
    pair = text[:, None].to(tl.int64) * videos + video[None, :]
    pair_inside = (text < texts)[:, None] & (video < videos)[None, :]
    tl.store(
        of_words + pair,
        tl.sum(weight[:, :, None] * score, axis=1),
        mask=pair_inside,
    )
    if KEEP:
        tl.store(
            best_frame
            + ((text[:, None].to(tl.int64) * length + word[None, :]) * videos)[
                :, :, None
            ]
            + video[None, None, :],
            best.to(tl.uint8),
            mask=word_inside[:, :, None] & (video < videos)[None, None, :],
        )

    score, best = tl.max(product, axis=1, return_indices=True)
    weight = tl.load(
        frame_weight + video[:, None] * size + frame[None, :],
        mask=frame_inside,
        other=0.0,
    )
    tl.store(
        of_frames + pair,
        tl.sum(weight[None, :, :] * score, axis=2),
        mask=pair_inside,
    )
    if KEEP:
        tl.store(
            best_word + pair[:, :, None] * size + frame[None, None, :],
            best.to(tl.uint8),
            mask=(text < texts)[:, None, None] & frame_inside[None, :, :],
        )


@triton.jit
def slope_of_words(
    best_frame,
    word_weight,
    grad,
    top,
    left,
    texts,
    videos,
    length,
    BB: tl.constexpr,
    LP: tl.constexpr,
    BV: tl.constexpr,
):  # pragma: no cover
    """What each word gives its best frame: number and slope, (BB, LP, BV)."""
    text = top * BB + tl.arange(0, BB)
    word = tl.arange(0, LP)
    video = left * BV + tl.arange(0, BV)
    inside = (text < texts)[:, None] & (word < length)[None, :]
    row = text[:, None].to(tl.int64) * length + word[None, :]
    weight = tl.load(word_weight + row, mask=inside, other=0.0)
    slope = tl.load(
        grad + text[:, None].to(tl.int64) * videos + video[None, :],
        mask=(text < texts)[:, None] & (video < videos)[None, :],
        other=0.0,
    )
    best = tl.load(
        best_frame + row[:, :, None] * videos + video[None, None, :],
        mask=inside[:, :, None] & (video < videos)[None, None, :],
        other=0,
    ).to(tl.int32)
    return best, weight[:, :, None] * slope[:, None, :]


@triton.jit
def slope_of_frames(
    best_word,
    frame_weight,
    grad,
    top,
    left,
    texts,
    videos,
    size,
    BB: tl.constexpr,
    BV: tl.constexpr,
    TP: tl.constexpr,
):  # pragma: no cover
    """What each frame gives its best word: number and slope, (BB, BV, TP)."""
    text = top * BB + tl.arange(0, BB)
    video = left * BV + tl.arange(0, BV)
    frame = tl.arange(0, TP)
    inside = (video < videos)[:, None] & (frame < size)[None, :]
    weight = tl.load(
        frame_weight + video[:, None] * size + frame[None, :],
        mask=inside,
        other=0.0,
    )
    pair = text[:, None].to(tl.int64) * videos + video[None, :]
    slope = tl.load(
        grad + pair,
        mask=(text < texts)[:, None] & (video < videos)[None, :],
        other=0.0,
    )
    best = tl.load(
        best_word + pair[:, :, None] * size + frame[None, None, :],
        mask=(text < texts)[:, None, None] & inside[None, :, :],
        other=0,
    ).to(tl.int32)
    return best, slope[:, :, None] * weight[None, :, :]


@triton.jit
def give_words(
    frames,
    frame_mask,
    word_weight,
    frame_weight,
    factor,
    index,
    best_frame,
    best_word,
    grad_words,
    grad_frames,
    to_words,
    texts,
    videos,
    length,
    size,
    width,
    PRECISION: tl.constexpr,
    HAS_SECOND: tl.constexpr,
    BB: tl.constexpr,
    LP: tl.constexpr,
    BV: tl.constexpr,
    TP: tl.constexpr,
    BD: tl.constexpr,
):  # pragma: no cover
    top = tl.program_id(0)
    depth = tl.program_id(1) * BD + tl.arange(0, BD)
    word = tl.arange(0, LP)
    frame = tl.arange(0, TP)
    total = tl.zeros((BB * LP, BD), tl.float32)
    for left in range(0, tl.cdiv(videos, BV)):
        best, slope = slope_of_words(
            best_frame,
            word_weight,
            grad_words,
            top,
            left,
            texts,
            videos,
            length,
            BB,
            LP,
            BV,
        )
        hit = best[:, :, :, None] == frame[None, None, None, :]
        slopes = tl.where(hit, slope[:, :, :, None], 0.0)
        if HAS_SECOND:
            video = left * BV + tl.arange(0, BV)
            real = (video < videos)[None, None, :]
            cell = video[None, None, :] * size + best
            other = tl.load(index + cell, mask=real, other=0)
            share = tl.load(factor + cell, mask=real, other=0.0) * slope
            hit = other[:, :, :, None] == frame[None, None, None, :]
            slopes += tl.where(hit, share[:, :, :, None], 0.0)
        best, slope = slope_of_frames(
            best_word,
            frame_weight,
            grad_frames,
            top,
            left,
            texts,
            videos,
            size,
            BB,
            BV,
            TP,
        )
        hit = best[:, None, :, :] == word[None, :, None, None]
        slopes += tl.where(hit, slope[:, None, :, :], 0.0)
        column, real_column = place_tokens(
            BV, TP, left, videos, size, frame_mask
        )
        b = tl.load(
            frames + column[:, None].to(tl.int64) * width + depth[None, :],
            mask=real_column[:, None] & (depth < width)[None, :],
            other=0.0,
        )
        a = tl.reshape(slopes, (BB * LP, BV * TP)).to(b.dtype)
        total = tl.dot(a, b, total, input_precision=PRECISION)
    place = tl.arange(0, BB * LP)
    text = top * BB + place // LP
    inside = (text < texts) & (place % LP < length)
    row = text.to(tl.int64) * length + place % LP
    tl.store(
        to_words + row[:, None] * width + depth[None, :],
        total.to(to_words.dtype.element_ty),
        mask=inside[:, None] & (depth < width)[None, :],
    )


@triton.jit
def give_frames(
    words,
    word_mask,
    word_weight,
    frame_weight,
    best_frame,
    best_word,
    grad_words,
    grad_frames,
    by_best,
    by_word,
    texts,
    videos,
    length,
    size,
    width,
    PRECISION: tl.constexpr,
    BB: tl.constexpr,
    LP: tl.constexpr,
    BV: tl.constexpr,
    TP: tl.constexpr,
    BD: tl.constexpr,
):  # pragma: no cover
    left = tl.program_id(0)
    depth = tl.program_id(1) * BD + tl.arange(0, BD)
    word = tl.arange(0, LP)
    frame = tl.arange(0, TP)
    of_best = tl.zeros((BV * TP, BD), tl.float32)
    of_word = tl.zeros((BV * TP, BD), tl.float32)
    for top in range(0, tl.cdiv(texts, BB)):
        row, real_row = place_tokens(BB, LP, top, texts, length, word_mask)
        b = tl.load(
            words + row[:, None].to(tl.int64) * width + depth[None, :],
            mask=real_row[:, None] & (depth < width)[None, :],
            other=0.0,
        )
        best, slope = slope_of_words(
            best_frame,
            word_weight,
            grad_words,
            top,
            left,
            texts,
            videos,
            length,
            BB,
            LP,
            BV,
        )
        hit = best[:, :, :, None] == frame[None, None, None, :]
        slopes = tl.where(hit, slope[:, :, :, None], 0.0)
        a = tl.reshape(slopes, (BB * LP, BV * TP)).to(b.dtype)
        of_best = tl.dot(tl.trans(a), b, of_best, input_precision=PRECISION)
        best, slope = slope_of_frames(
            best_word,
            frame_weight,
            grad_frames,
            top,
            left,
            texts,
            videos,
            size,
            BB,
            BV,
            TP,
        )
        hit = best[:, None, :, :] == word[None, :, None, None]
        slopes = tl.where(hit, slope[:, None, :, :], 0.0)
        a = tl.reshape(slopes, (BB * LP, BV * TP)).to(b.dtype)
        of_word = tl.dot(tl.trans(a), b, of_word, input_precision=PRECISION)
    place = tl.arange(0, BV * TP)
    video = left * BV + place // TP
    inside = (video < videos) & (place % TP < size)
    column = video.to(tl.int64) * size + place % TP
    place = column[:, None] * width + depth[None, :]
    mask = inside[:, None] & (depth < width)[None, :]
    tl.store(by_best + place, of_best, mask=mask)
    tl.store(by_word + place, of_word, mask=mask)


class TritonMaxSimilarity(torch.autograd.Function):
    """:func:`mmtvr.ops.similarity.max_similarity` for fixed weights.

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
        """Both means, (B, V) float32; arguments as in Bag and Neighbours.

        Weights and factor are float32. The numbers of the best tokens are
        kept only with ``needs_grad``.
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
        """Gradients of words, frames and factor."""
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
