"""Which engine an address means."""

import os
from typing import Any
from urllib.parse import urlsplit

from mmtvr.errors import SetupError
from mmtvr.search.lance_store import LanceStore
from mmtvr.search.store import VideoStore

OBJECT_STORES = ('s3', 'gs', 'az')


def open_store(url: str | os.PathLike[str]) -> VideoStore:
    """Connect to the engine of an index, whether there is an index or not.

    Args:
        url: A folder, or an object store (``s3://``, ``gs://``, ``az://``).

    Returns:
        The store.

    Raises:
        SetupError: The address is of no known kind.
    """
    url = os.fspath(url)
    scheme = urlsplit(url).scheme if '://' in url else ''
    if not scheme:
        return LanceStore(os.path.abspath(url))
    if scheme in OBJECT_STORES:
        return LanceStore(url)
    raise SetupError(
        f'{url!r} is no address of an index: give a folder or one of '
        f'{", ".join(f"{each}://" for each in OBJECT_STORES)}'
    )


def require_index(store: VideoStore) -> dict[str, Any]:
    """Make sure that there is an index.

    Args:
        store: Where it should be.

    Returns:
        Facts about it.

    Raises:
        SetupError: There is none.
    """
    about = store.read_about()
    if about is None:
        raise SetupError(
            f'there is no index {store.url}: make one with '
            '`mmtvr index CONFIG VIDEOS --into INDEX`'
        )
    return about
