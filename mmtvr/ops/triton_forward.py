# ruff: noqa: ANN001, ANN201, ANN202, D103, N803 (a kernel has pointers and constants for arguments)
"""The kernel that compares a tile of texts with a tile of videos."""

import triton
import triton.language as tl

from .triton_tiles import place_tokens

FAR_BELOW = tl.constexpr(-1e15)


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
