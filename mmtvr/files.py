"""Files that appear whole or not at all, and arrays in .npy and .npz files."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mmtvr.errors import FULL, SetupError

#: Ending of a file that is still being written.
PARTIAL = '.partial'


def write_atomically(path: str | Path, content: bytes) -> None:
    """Write a file so that no fault leaves half of it under its name.

    The content goes to a file beside it, is brought to the disk, and gets its
    name last. Until then a file of that name stays as it was.

    Args:
        path: Where to; the folder is made if it is not there.
        content: The whole content.

    Raises:
        SetupError: There is no room for it. Nothing of it is left.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + PARTIAL)
    free = shutil.disk_usage(path.parent).free
    if free < len(content):
        raise no_room(path, len(content), free)
    try:
        write_through(partial, content)
        os.replace(partial, path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in FULL:
            raise no_room(path, len(content), free) from error
        raise
    sync_folder(path.parent)


def write_through(path: Path, content: bytes) -> None:
    """Write a file and wait until it is on the disk.

    Args:
        path: Where to.
        content: The whole content.
    """
    with open(path, 'wb') as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk.

    Args:
        folder: The folder.
    """
    if os.name == 'nt':
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def remove_partial_files(folder: Path, pattern: str = '*') -> list[Path]:
    """Remove what a run that was killed in the middle of writing left.

    Args:
        folder: Where it wrote.
        pattern: Names of the whole files, as for :meth:`Path.glob`.

    Returns:
        What was removed.
    """
    found = sorted(folder.glob(pattern + PARTIAL))
    for path in found:
        path.unlink(missing_ok=True)
    return found


def no_room(path: Path, needed: int, free: int) -> SetupError:
    """Say that the disk is full.

    Args:
        path: What could not be written.
        needed: Its size in bytes.
        free: Free bytes before it was begun.

    Returns:
        The error.
    """
    return SetupError(
        f'the disk is full: {path} needs {megabytes(needed)}, '
        f'{path.parent} has {megabytes(free)} free (or a quota ends there)'
    )


def megabytes(size: int) -> str:
    """A size for people.

    Args:
        size: In bytes.

    Returns:
        With its unit, 10^6 bytes.
    """
    return f'{size / 1e6:,.1f} MB'


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
