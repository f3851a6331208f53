# ruff: noqa: ANN001, ANN201, ANN202, D103, N803 (a kernel has pointers and constants for arguments)
"""What the best tokens of a tile receive from the slopes of its scores."""

import triton
import triton.language as tl


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
