"""What a file holds, told by a digest of all of its bytes."""

import os
import time

import xxhash

#: A file that changed within the last seconds may change again without its
#: time stamps telling: file systems count in steps of up to two seconds.
SETTLED_AFTER = 2.0
CHUNK = 2**20


def file_identity(path: str) -> bytes:
    """Sum up how a file can be told to be the one seen before.

    Path, size, inode and the times of the last change of its content and of
    its entry in the folder; the last cannot be set back by hand.

    Args:
        path: The file.

    Returns:
        16 bytes.

    Raises:
        OSError: If it is not there.
    """
    stat = os.stat(path)
    facts = (
        os.path.abspath(path),
        stat.st_size,
        stat.st_mtime_ns,
        stat.st_ctime_ns,
        stat.st_ino,
    )
    return xxhash.xxh3_128_digest(repr(facts).encode(errors='surrogatepass'))


def is_settled(path: str) -> bool:
    """Whether a later change of a file is sure to show in its time stamps.

    Args:
        path: The file.

    Returns:
        Whether it has not changed for a while.

    Raises:
        OSError: If it is not there.
    """
    stat = os.stat(path)
    last = max(stat.st_mtime, stat.st_ctime)
    return last + SETTLED_AFTER < time.time()


def content_digest(path: str) -> bytes:
    """Hash all bytes of a file.

    Args:
        path: The file.

    Returns:
        16 bytes.

    Raises:
        OSError: If it cannot be read.
    """
    digest = xxhash.xxh3_128()
    with open(path, 'rb', buffering=0) as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.digest()
