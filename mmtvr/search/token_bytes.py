"""Token features as bytes, in half precision or in whole numbers."""

import numpy as np

PRECISIONS = ('float16', 'int8')
DEFAULT_PRECISION = PRECISIONS[0]
LARGEST = 127
SCALE = np.dtype('<f2')


def pack_tokens(tokens: np.ndarray, precision: str) -> bytes:
    """Turn the tokens of one video into bytes.

    Args:
        tokens: Shape (T, D), floating point.
        precision: ``'float16'``: 2 D bytes a token. ``'int8'``: D + 2 bytes,
            each token divided by the largest of its numbers.

    Returns:
        The bytes, little endian.
    """
    if precision == 'float16':
        return tokens.astype('<f2').tobytes()
    # Rounded up: a scale rounded down would carry the largest past 127.
    scale = np.abs(tokens).max(axis=1, keepdims=True, initial=0) / LARGEST
    stored = np.nextafter(scale.astype(SCALE), SCALE.type(np.inf))
    whole = np.rint(tokens / stored.astype(np.float32)).astype(np.int8)
    return stored.tobytes() + whole.tobytes()


def unpack_tokens(packed: bytes, width: int, precision: str) -> np.ndarray:
    """Turn bytes into the tokens of one video.

    Args:
        packed: What :func:`pack_tokens` returned.
        width: D.
        precision: As they were packed.

    Returns:
        Shape (T, D), float32.
    """
    if precision == 'float16':
        return np.frombuffer(packed, '<f2').reshape(-1, width).astype('f4')
    count = len(packed) // (width + SCALE.itemsize)
    scale = np.frombuffer(packed, SCALE, count).astype(np.float32)
    whole = np.frombuffer(packed, np.int8, offset=count * SCALE.itemsize)
    return whole.reshape(count, width) * scale[:, None]
