"""Arrays in .npy and .npz files, which others write and read too."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mmtvr.errors import SetupError


def load_arrays(
    path: Path, expected: str
) -> np.ndarray | dict[str, np.ndarray]:
    """Read a .npy or a .npz without unpickling.

    Args:
        path: The file.
        expected: What it should hold, for the message.

    Returns:
        The array, or the arrays by name.

    Raises:
        SetupError: It is not there, is neither, holds Python objects, or
            announces more than fits into memory.
    """
    if not path.is_file():
        raise SetupError(f'there is no file {path} (from {Path.cwd()})')
    try:
        content = np.load(path, allow_pickle=False)
        if isinstance(content, np.ndarray):
            return content
        with content:
            return dict(content)
    except Exception as error:
        # A header is parsed as Python, a member decompressed: each part has
        # exceptions of its own.
        reason = str(error).strip() or type(error).__name__
        raise SetupError(
            f'{path} cannot be read: {reason}. Expected {expected}.'
        ) from error


def write_arrays(path: Path, content: Mapping[str, np.ndarray]) -> None:
    """Write a .npz as a whole or not at all.

    Args:
        path: Where to; its folder is there.
        content: The arrays by name.
    """
    part = path.with_name(f'.{path.name}.part')
    try:
        with part.open('wb') as file:
            np.savez(file, **content)
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
