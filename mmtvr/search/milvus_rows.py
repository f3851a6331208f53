"""Features of a video as a string field of Milvus."""

import base64
import json

import numpy as np

from mmtvr.errors import SetupError
from mmtvr.search.token_bytes import pack_tokens, unpack_tokens

# What a string field of Milvus holds at most.
LONGEST = 65535


def encode(
    pooled: np.ndarray, tokens: np.ndarray, times: np.ndarray, precision: str
) -> str:
    """Write features as text: Milvus Lite has no field of bytes.

    Args:
        pooled: Shape (D,).
        tokens: Shape (T, D).
        times: Shape (T,), seconds.
        precision: How tokens are kept.

    Returns:
        JSON.

    Raises:
        SetupError: It is longer than a string field of Milvus holds.
    """
    parts = dict(
        pooled=pooled.astype('<f2').tobytes(),
        tokens=pack_tokens(tokens, precision),
        times=np.asarray(times, '<f4').tobytes(),
    )
    text = json.dumps(
        {key: base64.b64encode(part).decode() for key, part in parts.items()}
    )
    if len(text) > LONGEST:
        raise SetupError(
            f'the features of a video take {len(text)} bytes as text, Milvus '
            f'takes {LONGEST}: index into another NAME with --precision int8, '
            'or read fewer frames'
        )
    return text


def decode(
    text: str, about: dict
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read features back.

    Args:
        text: What :func:`encode` returned.
        about: Facts about the index.

    Returns:
        Pooled vector (D,), tokens (T, D) and times (T,), float32.
    """
    parts = {k: base64.b64decode(part) for k, part in json.loads(text).items()}
    return (
        np.frombuffer(parts['pooled'], '<f2').astype(np.float32),
        unpack_tokens(parts['tokens'], about['width'], about['precision']),
        np.frombuffer(parts['times'], '<f4'),
    )
