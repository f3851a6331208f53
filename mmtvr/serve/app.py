"""The whole page as one ASGI application, with its guards."""

import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mmengine.logging import print_log
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mmtvr.datasets.readers import get_reader
from mmtvr.errors import SetupError
from mmtvr.search.stores.base import DamagedIndexError, IndexUnavailableError
from mmtvr.serve.library import Library
from mmtvr.serve.media import DiskCache, Media, Thumbnails
from mmtvr.serve.pages import Answers, Api, Pages
from mmtvr.serve.requests import BoundedExecutor, PageError
from mmtvr.video import UnreadableVideoError
from mmtvr.video.supervised_reader import supervise

POLICY = '; '.join(
    (
        "default-src 'self'",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    'content-security-policy': POLICY,
    'cross-origin-opener-policy': 'same-origin',
    'cross-origin-resource-policy': 'same-origin',
    'referrer-policy': 'no-referrer',
    'x-content-type-options': 'nosniff',
    'x-frame-options': 'DENY',
}
FRESH = 'private, no-cache'


class SafeHeaders:
    """Add headers that keep pages from loading or being framed by others.

    Args:
        app: What answers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(
        self, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Answer a request."""

        async def send_safe(message: Message) -> None:
            if message['type'] == 'http.response.start':
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault('cache-control', FRESH)
            await send(message)

        await self.app(scope, receive, send_safe)


class KnownHosts:
    """Refuse requests for host names that are not ours.

    A page of another site can give its own name the address of this machine
    and then read what is served (DNS rebinding); its requests carry that
    name. An address in figures cannot be rebound and is always allowed.

    Args:
        app: What answers.
        names: Allowed names, in lower case.
    """

    def __init__(self, app: ASGIApp, names: Iterable[str] = ()) -> None:
        self.app = app
        self.names = {'localhost', *names}

    async def __call__(
        self, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Answer a request."""
        app = self.app
        if scope['type'] == 'http' and not self._is_known(scope):
            app = PlainTextResponse(
                'This name is not one of this server. If it should be, start '
                'it with --allow-host NAME.\n',
                400,
            )
        await app(scope, receive, send)

    def _is_known(self, scope: Scope) -> bool:
        try:
            name = urlsplit('//' + Headers(scope=scope)['host']).hostname
        except (KeyError, ValueError):
            return False
        if name in self.names:
            return True
        try:
            ip_address(name or '')
        except ValueError:
            return False
        return True


STATIC = Path(__file__).parent / 'static'
SECONDS_PER_VIDEO = 60.0
HEADINGS = {
    400: 'That cannot be searched for',
    404: 'Not found',
    405: 'Not possible',
    410: 'No longer there',
    422: 'That did not work',
    503: 'Not now',
}


def create_app(
    searcher: Any, title: str, cache: Path, hosts: Iterable[str] = ()
) -> ASGIApp:
    """Make the ASGI application.

    Args:
        searcher: A :class:`mmtvr.apis.TextVideoSearcher` with an open index.
        title: What is served, for people.
        cache: Folder of thumbnails and previews.
        hosts: Host names under which it may be asked for, beside
            ``localhost`` and addresses in figures.
    """
    # Now, not at the first request that needs what encodes videos.
    _ = searcher.encoder.model
    library = Library(searcher.store, searcher.encoder.tokens_per_frame)
    answers = Answers(searcher, library)
    # The model computes with all cores: one question at a time.
    model = BoundedExecutor('model', 1, 32)
    files = BoundedExecutor('files', 2, 128)
    pages = Pages(answers, model, title)
    thumbnails = Thumbnails(library, DiskCache(cache), _reader_of(searcher))

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        model.close()
        files.close()

    app = Starlette(
        routes=[
            *pages.routes,
            *Api(answers, model).routes,
            *Media(library, thumbnails, files).routes,
            Mount('/static', StaticFiles(directory=STATIC)),
        ],
        middleware=[Middleware(KnownHosts, names=hosts)],
        exception_handlers=_handlers(pages),
        lifespan=lifespan,
    )
    # Around all of it: unexpected errors are answered outside middleware.
    return SafeHeaders(app)


def _reader_of(searcher: Any) -> Any:
    """The reader of the model's own pipeline, in a decoder process."""
    kind = 'auto'
    for transform in searcher.encoder.pipelines.video.transforms:
        kind = getattr(transform, 'reader', kind)
    return supervise(get_reader(kind), SECONDS_PER_VIDEO)


def _handlers(pages: Pages) -> dict[Any, Any]:
    """From a kind of error to what answers it."""

    def answer(request: Request, status: int, message: str) -> Response:
        if request.url.path.startswith(('/api/', '/health')):
            return JSONResponse(dict(error=message), status)
        heading = HEADINGS.get(status, 'Something went wrong')
        page = pages.render('error', status, heading=heading, message=message)
        if status == 503:
            page.headers['retry-after'] = '2'
        return page

    async def page_error(request: Request, error: PageError) -> Response:
        return answer(request, error.status, str(error))

    async def cannot(request: Request, error: Exception) -> Response:
        return answer(request, 422, _without_paths(error))

    logged = set()

    async def unavailable(request: Request, error: Exception) -> Response:
        # Once, not for each request.
        if str(error) not in logged:
            logged.add(str(error))
            print_log(str(error), 'current', logging.ERROR)
        damaged = isinstance(error, DamagedIndexError)
        message = (
            'The index is damaged'
            if damaged
            else 'The index is not there, or was made again by another model'
        )
        message += ': the log of the server says what to do.'
        return answer(request, 503, message)

    async def http_error(request: Request, error: HTTPException) -> Response:
        message = 'There is nothing at this address.'
        if error.status_code != 404:
            message = error.detail
        return answer(request, error.status_code, message)

    async def unexpected(request: Request, error: Exception) -> Response:
        print_log(f'{request.url.path}: {error!r}', 'current', logging.ERROR)
        message = 'The server has logged what happened. Please try again.'
        return answer(request, 500, message)

    return {
        PageError: page_error,
        IndexUnavailableError: unavailable,
        SetupError: cannot,
        UnreadableVideoError: cannot,
        HTTPException: http_error,
        Exception: unexpected,
    }


def _without_paths(error: Exception) -> str:
    """The message, where it begins with a path without that."""
    if isinstance(error, UnreadableVideoError):
        reason = str(error).rpartition(': ')[2]
        return f'The video cannot be read: {reason}'
    return str(error)
