"""Which engine an address means."""

import os
from typing import Any

from mmtvr.errors import SetupError
from mmtvr.search.stores.base import (
    CLUSTERS,
    LITE,
    OBJECT_STORES,
    VideoStore,
    without_secrets,
)
from mmtvr.search.stores.lance import LanceStore
from mmtvr.search.stores.milvus import MilvusStore


def open_store(url: str | os.PathLike[str]) -> VideoStore:
    """Connect to the engine of an index, whether there is an index or not.

    Args:
        url: A folder or an object store (``s3://``, ``gs://``, ``az://``),
            held by LanceDB in this process; a Milvus cluster
            (``http://HOST:19530/NAME``, ``https://``); or ``milvus:FILE.db``,
            which is Milvus Lite in this process.

    Returns:
        The store.

    Raises:
        SetupError: The address is of no known kind.
    """
    url = os.fspath(url)
    if url.startswith(LITE):
        return MilvusStore(url)
    scheme = url.partition('://')[0].lower() if '://' in url else ''
    if not scheme:
        return LanceStore(os.path.abspath(url))
    if scheme in CLUSTERS:
        return MilvusStore(url)
    if scheme in OBJECT_STORES:
        return LanceStore(url)
    known = [f'{each}://' for each in (*CLUSTERS, *OBJECT_STORES)]
    raise SetupError(
        f'{without_secrets(url)!r} is no address of an index: give a '
        f'folder, or one of {", ".join(known)}'
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
