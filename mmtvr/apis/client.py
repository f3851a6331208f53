"""Ask a running ``mmtvr serve``, with the standard library alone."""

import json
import time
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import Request, urlopen

from mmtvr.errors import SetupError

BUSY = 503


class SearchClient:
    """Search the index that ``mmtvr serve`` holds open.

    Its answers are those of the JSON API, which ``/static/openapi.json`` of
    the server describes.

    Args:
        url: Where it is, such as ``http://127.0.0.1:8000``.
        token: What the server asks for, where it asks.
        timeout: Seconds until an answer must come.
        tries: How often a busy server is asked.

    Raises:
        SetupError: It is no address; when it is asked, that nobody answers,
            or what the server says is wrong.

    Example:
        >>> client = SearchClient('localhost:8000')
        Traceback (most recent call last):
        ...
        mmtvr.errors.SetupError: 'localhost:8000' is no address of a server: \
write http://HOST:PORT
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        timeout: float = 60.0,
        tries: int = 3,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ('http', 'https') or not parts.hostname:
            raise SetupError(
                f'{url!r} is no address of a server: write http://HOST:PORT'
            )
        self.url = url.rstrip('/')
        self.token, self.timeout, self.tries = token, timeout, tries

    def search(
        self,
        text: str,
        top_k: int = 10,
        *,
        where: str | None = None,
        offset: int = 0,
        match: str = 'auto',
    ) -> dict[str, Any]:
        """Search by a text.

        Args:
            text: What is to be seen, or said.
            top_k: How many results; a server has a limit of its own.
            where: A condition on the columns of the videos.
            offset: How many of the best are left out.
            match: ``'video'``, ``'text'``, or ``'auto'`` for both.

        Returns:
            ``results`` and what of the text the model cannot read.
        """
        asked = dict(
            q=text, k=top_k, where=where or '', offset=offset, match=match
        )
        return self._get('/api/search', **asked)

    def similar(self, key: str, top_k: int = 10) -> list[dict[str, Any]]:
        """Find what is like a video, by the ``id`` of a result."""
        return self._get(f'/api/similar/{quote(key)}', k=top_k)['results']

    def explain(self, key: str, text: str) -> dict[str, Any]:
        """Say why a video has its score."""
        return self._get(f'/api/explain/{quote(key)}', q=text)

    def columns(self) -> dict[str, str]:
        """Columns that ``where`` may name, and their types."""
        return self._get('/api/columns')['columns']

    def health(self) -> dict[str, Any]:
        """Whether the index can be read, and how many files it has."""
        return self._get('/health')

    def _get(self, path: str, **query: Any) -> dict[str, Any]:
        query = {k: v for k, v in query.items() if v not in ('', None)}
        request = Request(f'{self.url}{path}?{urlencode(query)}')
        if self.token:
            request.add_header('Authorization', f'Bearer {self.token}')
        for attempt in range(self.tries):
            try:
                with urlopen(request, timeout=self.timeout) as answer:
                    return json.load(answer)
            except HTTPError as error:
                if error.code != BUSY or attempt + 1 == self.tries:
                    raise self._explain(error) from error
                time.sleep(float(error.headers.get('retry-after') or 1))
            except (URLError, OSError, ValueError) as error:
                why = getattr(error, 'reason', error)
                raise SetupError(
                    f'{self.url} does not answer as `mmtvr serve` does '
                    f'({why}): is it running there?'
                ) from error
        raise AssertionError('unreachable')

    def _explain(self, error: HTTPError) -> SetupError:
        try:
            why = json.load(error)['error']
        except (ValueError, KeyError, TypeError, OSError):
            why = f'status {error.code}'
        return SetupError(f'{self.url}: {why}')
