"""The whole page as one ASGI application, with its guards."""

import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from mmengine.logging import print_log
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from mmtvr.datasets.readers import get_reader
from mmtvr.errors import SetupError
from mmtvr.search.judgements import Judgements
from mmtvr.search.stores.base import DamagedIndexError, IndexUnavailableError
from mmtvr.serve.guards import (
    KnownHosts,
    OwnPages,
    RateLimit,
    SafeHeaders,
    TokenLogin,
)
from mmtvr.serve.library import Library
from mmtvr.serve.media import DiskCache, Media, Thumbnails
from mmtvr.serve.monitoring import Metrics, Monitoring
from mmtvr.serve.pages import Answers, Api, Pages
from mmtvr.serve.requests import RETRY_SECONDS, BoundedExecutor, PageError
from mmtvr.serve.updating import Updates
from mmtvr.video import UnreadableVideoError
from mmtvr.video.supervised_reader import supervise

STATIC = Path(__file__).parent / 'static'
SECONDS_PER_VIDEO = 60.0
HEADINGS = {
    400: 'That cannot be searched for',
    403: 'Not allowed',
    404: 'Not found',
    405: 'Not possible',
    410: 'No longer there',
    422: 'That did not work',
    503: 'Not now',
}


class Access(NamedTuple):
    """Who may ask, how often, and what is written down of it.

    Attributes:
        token: What has to be known; None for nothing.
        rate: Requests of one address a second, for long; 0 for any number.
        log: Where a line for each request goes; None for none.
        with_queries: Whether it has the texts that were searched for.
    """

    token: str | None = None
    rate: float = 0.0
    log: TextIO | None = None
    with_queries: bool = False


def create_app(
    searcher: Any,
    title: str,
    cache: Path,
    hosts: Iterable[str] = (),
    can_index: bool = True,
    judgements: Path | None = None,
    access: Access | None = None,
) -> ASGIApp:
    """Make the ASGI application.

    Args:
        searcher: A :class:`mmtvr.apis.TextVideoSearcher` with an open index.
        title: What is served, for people.
        cache: Folder of thumbnails and previews.
        hosts: Host names under which it may be asked for, beside
            ``localhost`` and addresses in figures.
        can_index: Whether its page may let it take in new files.
        judgements: Where it keeps what people say of results; beside the
            thumbnails if None.
        access: Who may ask, how often, and what is written down of it;
            everybody, at any rate, and nothing if None.
    """
    access = access or Access()
    # Now, not at the first request that needs what encodes videos.
    _ = searcher.encoder.model
    library = Library(searcher.store, searcher.encoder.tokens_per_frame)
    answers = Answers(searcher, library)
    # The model computes with all cores: one batch of questions at a time.
    model = BoundedExecutor('model', 1, 256)
    # To open a file must not wait for a decoder, nor a picture for a preview.
    opening = BoundedExecutor('opening', 4, 256)
    pictures = BoundedExecutor('pictures', 2, 256)
    previews = BoundedExecutor('previews', 1, 32)
    executors = (model, opening, pictures, previews)
    updates = Updates(searcher, can_index)
    said = Judgements(judgements or cache / 'judgements.jsonl')
    pages = Pages(answers, model, title, updates, said)
    thumbnails = Thumbnails(library, DiskCache(cache), _reader_of(searcher))

    metrics = Metrics()
    limits = []
    if access.rate:
        limits.append(Middleware(RateLimit, rate=access.rate))
    if access.token:
        limits.append(
            Middleware(TokenLogin, token=access.token, render=pages.render)
        )

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        for executor in executors:
            executor.close()

    app = Starlette(
        routes=[
            *pages.routes,
            *Api(answers, model).routes,
            *updates.routes,
            *metrics.routes,
            *Media(library, thumbnails, opening, pictures, previews).routes,
            Mount('/static', StaticFiles(directory=STATIC)),
        ],
        middleware=[
            Middleware(KnownHosts, names=hosts),
            Middleware(OwnPages),
            *limits,
        ],
        exception_handlers=_handlers(pages),
        lifespan=lifespan,
    )
    # Around all of it: unexpected errors are answered outside middleware.
    return Monitoring(
        SafeHeaders(app), metrics, access.log, access.with_queries
    )


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
            page = JSONResponse(dict(error=message), status)
        else:
            page = pages.render(
                'error',
                status,
                heading=HEADINGS.get(status, 'Something went wrong'),
                message=message,
                **{
                    name: request.query_params.get(name, '')
                    for name in ('q', 'where', 'match')
                },
                retry=RETRY_SECONDS if status == 503 else 0,
                again=request.url.path + '?' + request.url.query,
            )
        if status == 503:
            page.headers['retry-after'] = str(RETRY_SECONDS)
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
