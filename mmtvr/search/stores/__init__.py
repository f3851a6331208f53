"""Where an index lives: a folder (LanceDB), Milvus or PostgreSQL."""

import os

from mmtvr.errors import SetupError
from mmtvr.search.stores.base import (
    CLUSTERS,
    LITE,
    OBJECT_STORES,
    POSTGRES,
    FileEntry,
    StoredVideos,
    VideoStore,
    hide_secrets,
)

__all__ = [
    'FileEntry',
    'StoredVideos',
    'VideoStore',
    'hide_secrets',
    'open_store',
]


def open_store(index: str | os.PathLike[str]) -> VideoStore:
    """Open the store at an address; there may be no index in it yet.

    Nothing is created, and no engine is imported, before something is read
    or written.

    Args:
        index: A folder or an object store (``s3://``, ``gs://``, ``az://``),
            held by LanceDB in this process; a Milvus cluster
            (``http://HOST:19530/NAME``, ``https://``); ``milvus:FILE.db``,
            which is Milvus Lite in this process; or PostgreSQL with pgvector
            (``postgresql://HOST:5432/DATABASE/NAME``).

    Raises:
        SetupError: The address is of no known kind, or the folder holds
            something else.
    """
    index = os.fspath(index)
    scheme = index.partition('://')[0].lower() if '://' in index else ''
    if index.startswith(LITE) or scheme in CLUSTERS:
        from mmtvr.search.stores.milvus import MilvusStore

        return MilvusStore(index)
    if scheme in POSTGRES:
        from mmtvr.search.stores.pgvector import PgvectorStore

        return PgvectorStore(index)
    if scheme and scheme not in OBJECT_STORES:
        known = (*CLUSTERS, POSTGRES[0], *OBJECT_STORES)
        known = [f'{each}://' for each in known]
        raise SetupError(
            f'{hide_secrets(index)!r} is no address of an index: give a '
            f'folder, or one of {", ".join(known)}'
        )
    from mmtvr.search.stores.lance import LanceStore

    return LanceStore(index if scheme else os.path.abspath(index))
