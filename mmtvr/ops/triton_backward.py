# ruff: noqa: ANN001, ANN201, ANN202, D103, N803 (a kernel has pointers and constants for arguments)
"""The kernels that hand the slopes of a tile to its words and frames."""

import triton
import triton.language as tl

from .triton_slopes import slope_of_frames, slope_of_words
from .triton_tiles import place_tokens


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
