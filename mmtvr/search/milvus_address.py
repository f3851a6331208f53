"""Where an index in Milvus is, and how to get there."""

from typing import Any
from urllib.parse import parse_qs, urlsplit, urlunsplit

from mmtvr.errors import SetupError

DEFAULT_NAME = 'mmtvr'


def take_apart(url: str) -> tuple[str, str, dict[str, str]]:
    """Take the address of an index apart.

    Args:
        url: See :class:`mmtvr.search.milvus_store.MilvusStore`.

    Returns:
        Address without secrets, name of the index, and how to log in.

    Raises:
        SetupError: Milvus does not take the name.
    """
    if url.startswith('milvus:') and not url.startswith('milvus://'):
        return url.removeprefix('milvus:'), DEFAULT_NAME, {}
    parts = urlsplit(url)
    options = {}
    if parts.username:
        options = dict(user=parts.username, password=parts.password or '')
    if token := parse_qs(parts.query).get('token'):
        options = dict(token=token[0])
    host = parts.netloc.rpartition('@')[2]
    name = parts.path.strip('/') or DEFAULT_NAME
    if not name.replace('_', 'a').isalnum() or not name.isascii():
        raise SetupError(
            f'the index of {url} is named {name!r}; Milvus takes letters, '
            'digits and underscores'
        )
    return urlunsplit((parts.scheme, host, '', '', '')), name, options


def connect(uri: str, options: dict[str, str]) -> Any:
    """Connect to an engine.

    Args:
        uri: Its address.
        options: How to log in.

    Returns:
        A client of pymilvus.

    Raises:
        SetupError: pymilvus is not installed, or nobody answers.
    """
    try:
        from pymilvus import MilvusClient
        from pymilvus.exceptions import MilvusException
    except ImportError as error:
        raise SetupError(
            f'an index at {uri} needs pymilvus, which is not installed: '
            "pip install 'mmtvr[milvus]'"
        ) from error
    try:
        return MilvusClient(uri, **options)
    except MilvusException as error:
        raise SetupError(
            f'Milvus at {uri} does not answer: {error}'
        ) from error
