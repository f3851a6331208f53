"""A client of Milvus whose failures are messages."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mmtvr.errors import SetupError


class MilvusClient:
    """Methods of pymilvus' ``MilvusClient``, told in one message on failure.

    pymilvus itself tries again what a server that restarts or limits the rate
    refuses, for some minutes. What then still fails, fails by one of its
    exceptions: wrong password, no such database, memory or disk used up.

    Args:
        uri: Address of the engine, without secrets.
        **options: ``user`` and ``password``, or ``token``; ``db_name``.

    Raises:
        SetupError: pymilvus is not installed, or nobody answers.
    """

    def __init__(self, uri: str, **options: str) -> None:
        try:
            import pymilvus
        except ImportError as error:
            raise SetupError(
                f'an index at {uri} needs pymilvus, which is not installed: '
                "pip install 'mmtvr[milvus]'"
            ) from error
        # It logs what it raises, with tracebacks.
        logging.getLogger('pymilvus').setLevel(logging.CRITICAL)
        self._uri = uri
        self._failure = pymilvus.exceptions.MilvusException
        with self._told():
            self._client = pymilvus.MilvusClient(uri, **options)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)

        def call(*arguments: Any, **options: Any) -> Any:
            with self._told():
                return method(*arguments, **options)

        return call

    def iterate(self, *arguments: Any, **options: Any) -> Iterator[dict]:
        """Query without a limit, page by page.

        Args:
            *arguments: Those of ``query_iterator``.
            **options: Likewise.

        Yields:
            Rows.
        """
        with self._told():
            pages = self._client.query_iterator(*arguments, **options)
        try:
            while rows := self._next(pages):
                yield from rows
        finally:
            pages.close()

    def _next(self, pages: Any) -> list[dict]:
        with self._told():
            return pages.next()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except self._failure as error:
            reason = str(error.message or error).strip()
            raise SetupError(f'Milvus at {self._uri}: {reason}') from error
