"""What operators see: an access log, and metrics for Prometheus."""

import json
import sys
import time
from typing import TextIO
from urllib.parse import parse_qs

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: First parts of addresses; others, which anybody can make up, are one.
ROUTES = (
    *('api', 'explain', 'health', 'indexing', 'judge', 'login', 'metrics'),
    *('poster', 'preview', 'similar', 'static', 'strip', 'unreadable'),
    *('video', 'watch', ''),
)
METHODS = ('GET', 'HEAD', 'POST')
SECONDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)


class Metrics:
    """Counters of one application, as ``/metrics`` gives them."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter(
            'mmtvr_requests',
            'Requests that were answered.',
            ['route', 'method', 'status'],
            registry=registry,
        )
        self.seconds = Histogram(
            'mmtvr_request_seconds',
            'Seconds from a request to the end of its answer.',
            ['route'],
            buckets=SECONDS,
            registry=registry,
        )
        self.running = Gauge(
            'mmtvr_requests_running',
            'Requests that are being answered.',
            registry=registry,
        )

    @property
    def routes(self) -> list[Route]:
        """The address."""
        return [Route('/metrics', self.report)]

    async def report(self, request: Request) -> Response:
        """``GET /metrics``: Prometheus' text format."""
        content = generate_latest(self._registry)
        return Response(content, media_type=CONTENT_TYPE_LATEST)


class Monitoring:
    """Counts requests, and writes a line of JSON for each.

    A line has no text that was searched for, and of an address only its first
    part: neither says what somebody looks for or watches.

    Args:
        app: What answers.
        metrics: What is counted.
        log: Where the lines go; None for none.
        with_queries: Whether to add the address as it is, and the text.
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        log: TextIO | None = None,
        with_queries: bool = False,
    ) -> None:
        self.app = app
        self.metrics = metrics
        self.log = log
        self.with_queries = with_queries

    async def __call__(
        self, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Answer a request."""
        if scope['type'] != 'http':
            await self.app(scope, receive, send)
            return
        start, status, sent = time.perf_counter(), 499, 0

        async def count(message: Message) -> None:
            nonlocal status, sent
            if message['type'] == 'http.response.start':
                status = message['status']
            elif message['type'] == 'http.response.body':
                sent += len(message.get('body', b''))
            await send(message)

        self.metrics.running.inc()
        try:
            await self.app(scope, receive, count)
        finally:
            self.metrics.running.dec()
            seconds = time.perf_counter() - start
            part = scope['path'].split('/')[1]
            route = f'/{part}' if part in ROUTES else 'other'
            method = scope['method']
            method = method if method in METHODS else 'other'
            self.metrics.requests.labels(route, method, status).inc()
            self.metrics.seconds.labels(route).observe(seconds)
            if self.log is not None:
                facts = dict(
                    time=time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime()),
                    client=(scope.get('client') or [''])[0],
                    method=method,
                    route=route,
                    status=status,
                    seconds=round(seconds, 4),
                    bytes=sent,
                )
                if self.with_queries:
                    query = parse_qs(scope['query_string'].decode('latin-1'))
                    facts.update(path=scope['path'], q=query.get('q', []))
                print(json.dumps(facts), file=self.log, flush=True)


def open_log(path: str | None) -> TextIO | None:
    """Where the access log goes: a file that grows, stderr for ``-``."""
    if path is None:
        return None
    return sys.stderr if path == '-' else open(path, 'a', encoding='utf-8')
