"""At which size frames are handed over."""

import numpy as np


def reduced_size(
    shape: tuple[int, int], short_side: int | None
) -> tuple[int, int] | None:
    """Plan for smaller frames.

    Args:
        shape: Height and width of a picture.
        short_side: Pixels that its short side is to have, or None.

    Returns:
        Height and width with the same aspect ratio, rounded; None for a
        picture that is not larger than asked and stays as it is.
    """
    height, width = shape
    if short_side is None or short_side >= min(height, width):
        return None
    scale = short_side / min(height, width)
    return round(height * scale), round(width * scale)


def resize_frames(frames: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize decoded frames, bicubically.

    Args:
        frames: Shape (T, H, W, 3), uint8.
        size: Height and width to give them.

    Returns:
        Shape (T, height, width, 3), uint8.
    """
    resized = np.empty((len(frames), *size, 3), np.uint8)
    for frame, into in zip(frames, resized, strict=True):
        resize_frame(frame, into)
    return resized


def resize_frame(frame: np.ndarray, into: np.ndarray) -> None:
    """Resize a picture, bicubically.

    Args:
        frame: Shape (H, W, 3), uint8.
        into: Where to, contiguous; its shape tells the size.
    """
    import cv2

    height, width = into.shape[:2]
    cv2.resize(frame, (width, height), into, interpolation=cv2.INTER_CUBIC)
