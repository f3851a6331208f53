"""Files that are there as a whole or not at all."""

import os
import shutil
from pathlib import Path

from mmtvr.errors import SetupError
from mmtvr.system_errors import FULL

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
