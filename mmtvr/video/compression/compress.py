"""A smaller copy of a video, and the check that nothing was lost."""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mmtvr.video.compression.thinning import Thinned, frame_durations, thin_out
from mmtvr.video.compression.writing import write_h264
from mmtvr.video.reader import (
    UnreadableVideoError,
    VideoReader,
    reduced_size,
    resize_frames,
)

OpenReader = Callable[..., VideoReader]
#: What the name of a copy ends in until it is checked.
DRAFT = '.mmtvr-draft'
BLOCK_BYTES = 2**28
PEAK = 255.0


class LossyCopyError(Exception):
    """A copy that is not what it should be; the message says how."""


class Compression(NamedTuple):
    """How copies are made.

    Attributes:
        fps: Frames per second of the copy; slower videos keep theirs. None
            keeps all frames.
        short_side: Pixels of the short side of the copy; smaller videos keep
            theirs. None keeps the size.
        crf: Constant rate factor of x264, 0 (lossless) to 51.
        min_psnr: Decibels by which the first, the middle and the last frame
            of the copy must at least agree with the source, at half the size:
            a copy has one colour for four pixels.
    """

    fps: float | None = 3.0
    short_side: int | None = 224
    crf: int = 20
    min_psnr: float = 28.0


def compress_video(
    source: str,
    target: str,
    open_reader: OpenReader,
    how: Compression,
) -> int:
    """Write a smaller copy of a video, or nothing.

    The copy appears under its name only when it is whole, on disk and
    checked. The source is only read.

    Args:
        source: The video file.
        target: The copy: H.264 in mp4 without sound, whatever the name.
        open_reader: Opens a file: ``open_reader(path, short_side=...)``.
        how: Rate, size and quality.

    Returns:
        Number of bytes of the copy.

    Raises:
        UnreadableVideoError: If a frame of the source cannot be read.
        LossyCopyError: If the copy does not pass the check.
        OSError: As when the disk is full.
    """
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    draft = f'{os.path.abspath(target)}.{os.getpid()}{DRAFT}'
    try:
        with open_reader(source, short_side=how.short_side) as reader:
            kept = _choose(reader, how.fps)
            size = even_size(reader.original_shape, how.short_side)
            frames = _read_in_blocks(reader, kept.indices, size)
            write_h264(
                draft, frames, size, kept.times, kept.durations, how.crf
            )
            check_copy(draft, reader, kept, size, open_reader, how.min_psnr)
        _put_in_place(draft, target)
    finally:
        with suppress(FileNotFoundError):
            os.remove(draft)
    return os.path.getsize(target)


def even_size(
    shape: tuple[int, int], short_side: int | None
) -> tuple[int, int]:
    """Plan for a size that H.264 can have.

    Args:
        shape: Height and width of the source.
        short_side: Pixels of the short side, or None.

    Returns:
        Height and width, even, never larger than the source unless that is
        one pixel high or wide.
    """
    height, width = reduced_size(shape, short_side) or shape
    return max(height - height % 2, 2), max(width - width % 2, 2)


def check_copy(
    path: str,
    source: VideoReader,
    kept: Thinned,
    size: tuple[int, int],
    open_reader: OpenReader,
    min_psnr: float,
) -> None:
    """Compare a copy with what it was made from.

    Args:
        path: The copy.
        source: Reader of the source.
        kept: Frames that stay, and when they are shown.
        size: Height and width that the copy should have.
        open_reader: Opens a file.
        min_psnr: Decibels by which three frames must at least agree at half
            their size.

    Raises:
        LossyCopyError: If the number of frames, their times, the length, the
            size or one of the frames is not as it should be.
    """
    rows = sorted({0, len(kept.indices) // 2, len(kept.indices) - 1})
    expected = np.stack(
        list(_read_in_blocks(source, kept.indices[rows], size))
    )
    try:
        with open_reader(path) as copy:
            _check_times(copy, kept)
            if copy.original_shape != size:
                raise LossyCopyError(f'{copy.original_shape} pixels')
            frames = copy.get_frames(rows)
    except UnreadableVideoError as error:
        raise LossyCopyError(f'the copy cannot be read: {error}') from error
    for row, frame, wanted in zip(rows, frames, expected, strict=True):
        found = psnr(_halve(frame), _halve(wanted))
        if found < min_psnr:
            raise LossyCopyError(
                f'frame {row} of the copy agrees with frame '
                f'{kept.indices[row]} of the source by {found:.1f} dB only '
                f'({min_psnr:g} expected)'
            )


def _halve(picture: np.ndarray) -> np.ndarray:
    """Take the mean of each four pixels."""
    import cv2

    height, width = picture.shape[:2]
    size = max(width // 2, 1), max(height // 2, 1)
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    """Peak signal-to-noise ratio of two pictures.

    Args:
        first: uint8.
        second: uint8, of the same shape.

    Returns:
        Decibels; infinite for equal pictures.
    """
    error = np.mean((first.astype(np.float32) - second) ** 2)
    with np.errstate(divide='ignore'):
        return float(10 * np.log10(PEAK**2 / error))


def _choose(reader: VideoReader, fps: float | None) -> Thinned:
    times = np.asarray(reader.get_times(), np.float64)
    if (np.diff(times) <= 0).any():
        raise UnreadableVideoError(
            f'{reader.path}: the time stamps of its frames do not ascend'
        )
    return thin_out(times, frame_durations(times, reader.fps), fps)


def _check_times(copy: VideoReader, kept: Thinned) -> None:
    if len(copy) != len(kept.indices):
        raise LossyCopyError(
            f'{len(copy)} frames instead of {len(kept.indices)}'
        )
    times = copy.get_times()
    found = times[-1] + frame_durations(times, copy.fps)[-1]
    if np.abs(times - kept.times).max() > kept.durations.max() / 2:
        raise LossyCopyError('its frames are shown at other times')
    if abs(found - kept.length) > kept.durations.max():
        raise LossyCopyError(f'{found:.2f} s instead of {kept.length:.2f} s')


def _read_in_blocks(
    reader: VideoReader, indices: np.ndarray, size: tuple[int, int]
) -> Iterator[np.ndarray]:
    """Read frames of the final size, not all of them at once."""
    block = max(1, BLOCK_BYTES // (3 * size[0] * size[1]))
    for start in range(0, len(indices), block):
        frames = reader.get_frames(indices[start : start + block])
        if frames.shape[1:3] != size:
            frames = resize_frames(frames, size)
        yield from frames


def _put_in_place(draft: str, target: str) -> None:
    _flush(draft)
    os.replace(draft, target)
    _flush(os.path.dirname(os.path.abspath(target)))


def _flush(path: str) -> None:
    """Have a file, or the names in a folder, on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
