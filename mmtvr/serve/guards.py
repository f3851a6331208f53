"""What every request passes: safe headers, known hosts, its own pages."""

from collections.abc import Iterable
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
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
PARTS = ('/api/', '/explain/', '/poster/', '/preview/', '/strip/', '/video/')


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
