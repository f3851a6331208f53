"""How much a cache may take of a disk."""

import errno
import shutil
from pathlib import Path

GIGABYTE = 10**9


def free_bytes(folder: Path) -> int:
    """Tell what is free on the disk of a folder.

    Args:
        folder: It need not exist yet.

    Returns:
        Bytes.
    """
    parents = (folder.absolute(), *folder.absolute().parents)
    return shutil.disk_usage(next(p for p in parents if p.exists())).free


def check_reserve(folder: Path, size: int, reserve_gb: float) -> None:
    """Check that enough stays free.

    Args:
        folder: Where something is to be written.
        size: Its bytes.
        reserve_gb: What is to stay free, in 10^9 bytes.

    Raises:
        OSError: If it would not.
    """
    free = free_bytes(folder)
    if free < size + reserve_gb * GIGABYTE:
        raise OSError(
            errno.ENOSPC,
            f'{free / GIGABYTE:.1f} GB are free and reserve_gb='
            f'{reserve_gb:g} are to stay so',
        )


def check_limit(size: int, limit_gb: float) -> None:
    """Check that a cache stays as small as it is to be.

    Args:
        size: Its bytes.
        limit_gb: What it may take, in 10^9 bytes.

    Raises:
        OSError: If it would take more.
    """
    if size > limit_gb * GIGABYTE:
        raise OSError(errno.EDQUOT, f'limit_gb={limit_gb:g} is reached')
