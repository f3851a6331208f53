"""Single frames as JPEG pictures."""

import numpy as np


def encode_jpeg(frame: np.ndarray, quality: int) -> np.ndarray:
    """Compress a frame, which changes its pixels.

    Args:
        frame: Shape (H, W, 3), uint8, RGB.
        quality: 1 to 100, as libjpeg understands it.

    Returns:
        The bytes of a JPEG file, uint8.
    """
    import cv2

    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    return cv2.imencode('.jpg', frame[..., ::-1], options)[1]


def decode_jpeg(picture: np.ndarray) -> np.ndarray:
    """Decompress a frame.

    Args:
        picture: From :func:`encode_jpeg`.

    Returns:
        Shape (H, W, 3), uint8, RGB.
    """
    import cv2

    frame = cv2.imdecode(picture, cv2.IMREAD_COLOR)
    return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB, frame)
