"""What every request passes: safe headers, known hosts, a token, limits."""

import hmac
import math
import time
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import (
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
)
from starlette.types import ASGIApp, Message, Receive, Scope, Send

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


#: What only pages of this server ask for: it costs, or tells.
PARTS = (
    *('/api/', '/explain/', '/indexing', '/judge/', '/poster/'),
    *('/preview/', '/strip/', '/video/'),
)


class OwnPages:
    """Refuse what pages of other sites ask for, except links to pages.

    A page of another site cannot read an answer, but asking is enough to let
    this machine encode videos. Browsers say in ``Sec-Fetch-Site`` which site
    asks; programs do not send it.

    Args:
        app: What answers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(
        self, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Answer a request."""
        app = self.app
        if scope['type'] == 'http' and not self._is_own(scope):
            app = PlainTextResponse(
                'This is for the pages of this server, not for other sites. '
                'Go to its first page and search there.\n',
                403,
            )
        await app(scope, receive, send)

    @staticmethod
    def _is_own(scope: Scope) -> bool:
        headers = Headers(scope=scope)
        site = headers.get('sec-fetch-site', 'none')
        if site in ('same-origin', 'none'):
            return True
        is_link = (
            headers.get('sec-fetch-mode') == 'navigate'
            and headers.get('sec-fetch-dest') == 'document'
        )
        return is_link and not scope['path'].startswith(PARTS)


COOKIE = 'mmtvr'
COOKIE_SECONDS = 30 * 24 * 3600
#: What may be asked for without a token: nothing of the index.
OPEN = ('/static/', '/login')
MAX_FORM = 4096


class TokenLogin:
    """Refuse who does not know the token.

    Programs send it (``Authorization: Bearer TOKEN``). A browser is asked for
    it once, and gets a cookie that scripts cannot read and that other sites
    cannot send. The cookie is made of the token: a server that starts again
    with the same one knows it, with another one does not.

    Args:
        app: What answers.
        token: What is asked for.
        render: Makes the page that asks for it.
    """

    def __init__(
        self,
        app: ASGIApp,
        token: str,
        render: Callable[..., Response],
    ) -> None:
        self.app = app
        self.token = token
        self.cookie = hmac.new(
            token.encode(), b'mmtvr cookie', 'sha256'
        ).hexdigest()
        self.render = render

    async def __call__(
        self, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Answer a request."""
        app = self.app
        if scope['type'] == 'http':
            request = Request(scope, receive)
            if scope['path'] == '/login' and scope['method'] == 'POST':
                app = await self._log_in(request)
            elif not self._is_known(request):
                app = self._refuse(request)
        await app(scope, receive, send)

    def _is_known(self, request: Request) -> bool:
        if request.url.path.startswith(OPEN):
            return True
        kind, _, given = request.headers.get('authorization', '').partition(
            ' '
        )
        if kind.lower() == 'bearer':
            return _is_same(given.strip(), self.token)
        return _is_same(request.cookies.get(COOKIE, ''), self.cookie)

    async def _log_in(self, request: Request) -> Response:
        body = b''
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_FORM:
                return PlainTextResponse('That is no token.\n', 413)
        form = parse_qs(body.decode('latin-1'))
        given = form.get('token', [''])[0]
        if not _is_same(given, self.token):
            return self.render('login', 401, wrong=True)
        answer = RedirectResponse('/', 303)
        answer.set_cookie(
            COOKIE,
            self.cookie,
            COOKIE_SECONDS,
            httponly=True,
            samesite='strict',
            secure=request.url.scheme == 'https',
        )
        return answer

    def _refuse(self, request: Request) -> Response:
        if request.url.path.startswith(('/api/', '/health', '/metrics')):
            message = 'Give the token: Authorization: Bearer TOKEN'
            answer: Response = JSONResponse(dict(error=message), 401)
        else:
            answer = self.render('login', 401, wrong=False)
        answer.headers['www-authenticate'] = 'Bearer'
        return answer


def _is_same(given: str, expected: str) -> bool:
    """Compare secrets in a time that says nothing of them."""
    return hmac.compare_digest(
        given.encode('utf-8', 'replace'), expected.encode()
    )


class RateLimit:
    """Refuse who asks more often than so many times a second, for long.

    Each address has a bucket of tokens that fills with time (token bucket).

    Args:
        app: What answers.
        rate: Requests a second.
        burst: How many may come at once, as the pictures of a page do.
    """

    def __init__(self, app: ASGIApp, rate: float, burst: int = 300) -> None:
        self.app = app
        self.rate = rate
        self.burst = burst
        self._buckets: dict[str, tuple[float, float]] = {}

    async def __call__(
        self, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Answer a request."""
        app = self.app
        if scope['type'] == 'http' and not scope['path'].startswith('/static'):
            wait = self._take((scope.get('client') or [''])[0])
            if wait:
                app = JSONResponse(
                    dict(error='Too many requests. Please wait a moment.'),
                    429,
                    {'retry-after': str(math.ceil(wait))},
                )
        await app(scope, receive, send)

    def _take(self, client: str) -> float:
        """Take a token; else how many seconds until there is one."""
        now = time.monotonic()
        tokens, last = self._buckets.pop(client, (self.burst, now))
        tokens = min(self.burst, tokens + (now - last) * self.rate)
        # The first are those that asked least lately; full ones are new.
        while self._buckets:
            first, (left, since) = next(iter(self._buckets.items()))
            if left + (now - since) * self.rate < self.burst:
                break
            del self._buckets[first]
        if tokens < 1:
            self._buckets[client] = (tokens, now)
            return (1 - tokens) / self.rate
        self._buckets[client] = (tokens - 1, now)
        return 0.0
