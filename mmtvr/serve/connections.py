"""Connections: how many there are, and how long they may say nothing."""

import asyncio
import socket
from collections.abc import Iterable
from functools import partial
from ipaddress import IPv6Address, ip_address
from typing import Any, NamedTuple

import uvicorn
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from mmtvr.serve.guards import SafeHeaders
from mmtvr.serve.requests import RETRY_SECONDS

# Downloads may go on for so long after Ctrl-C.
GRACE_SECONDS = 0.5


class Limits(NamedTuple):
    """What connections may take.

    Attributes:
        connections: How many there are at a time.
        per_address: How many of them from one address; of IPv6, from one
            network of 64 bits.
        request_seconds: For a request with its headers, counted from the
            connection, or from the end of the answer before.
        stalled_seconds: How long a client may not take what is sent.
    """

    connections: int = 256
    per_address: int = 128
    request_seconds: float = 10.0
    stalled_seconds: float = 60.0


class LimitedProtocol(H11Protocol):
    """A connection within limits.

    Where there is no room for a new one, the one that has been silent longest
    is closed for it. If all are at work, the new one is asked to come back.
    """

    def __init__(self, *args: Any, limits: Limits, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.limits = limits
        self.address = ''
        self.silent_since = self.loop.time()
        self._deadline: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None

    @property
    def is_silent(self) -> bool:
        """Whether no request has come yet, or the last one is answered."""
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Make room for it, or refuse what it will ask."""
        super().connection_made(transport)
        self.address = _network(self.client)
        if not self._make_room():
            self.app = _refuse
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        super().connection_lost(exc)
        for timer in (self._deadline, self._stalled):
            if timer is not None:
                timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Read what came."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._watch()

    def pause_writing(self) -> None:
        """The client takes less than what is sent."""
        super().pause_writing()
        self._stalled = self.loop.call_later(
            self.limits.stalled_seconds, self.transport.abort
        )

    def resume_writing(self) -> None:
        """The client goes on taking it."""
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()

    def _make_room(self) -> bool:
        alike = [c for c in self.connections if c.address == self.address]
        if len(alike) > self.limits.per_address:
            return _close_silent(alike, self)
        if len(self.connections) > self.limits.connections:
            return _close_silent(self.connections, self)
        return True

    def _watch(self) -> None:
        if not self.is_silent:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None
        elif self._deadline is None:
            self.silent_since = self.loop.time()
            self._deadline = self.loop.call_later(
                self.limits.request_seconds, self._expire
            )

    def _expire(self) -> None:
        if self.transport.get_write_buffer_size() and not self._stalled:
            # The end of an answer is still on its way.
            self.pause_writing()
        else:
            self.transport.abort()


def _network(client: tuple[str, int] | None) -> str:
    """What is counted as one address."""
    name = client[0].partition('%')[0] if client else ''
    try:
        address = ip_address(name)
    except ValueError:
        return name
    if isinstance(address, IPv6Address) and address.ipv4_mapped is None:
        return address.exploded[:19]
    return str(getattr(address, 'ipv4_mapped', None) or address)


def _close_silent(
    connections: Iterable[LimitedProtocol], new: LimitedProtocol
) -> bool:
    """Close the connection that has been silent longest; whether one was."""
    silent = [c for c in connections if c.is_silent and c is not new]
    if not silent:
        return False
    oldest = min(silent, key=lambda connection: connection.silent_since)
    oldest.connections.discard(oldest)
    oldest.transport.abort()
    return True


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    answer = PlainTextResponse(
        'Too many connections are at work. Please try again in a moment.\n',
        503,
        {'retry-after': str(RETRY_SECONDS), 'connection': 'close'},
    )
    await SafeHeaders(answer)(scope, receive, send)


class PageServer(uvicorn.Server):
    """Serve an application within limits, and end soon when asked to.

    Args:
        app: The application.
        limits: What connections may take.
    """

    def __init__(self, app: ASGIApp, limits: Limits | None = None) -> None:
        async def quiet(scope: Scope, receive: Receive, send: Send) -> None:
            try:
                await app(scope, receive, send)
            except asyncio.CancelledError:
                # At the end of the server: nobody waits for the answer.
                if not self.should_exit:
                    raise

        config = uvicorn.Config(
            quiet,
            # uvicorn has no time limit of a request (Kludex/uvicorn#157).
            http=partial(LimitedProtocol, limits=limits or Limits()),
            lifespan='on',
            ws='none',
            log_level='warning',
            server_header=False,
            timeout_graceful_shutdown=2,
        )
        super().__init__(config)

    async def shutdown(self, sockets: list[socket.socket] | None = None):
        """Break off downloads, and what is still computed for a request."""
        loop = asyncio.get_running_loop()
        loop.call_later(GRACE_SECONDS, self._break_off)
        await super().shutdown(sockets)

    def _break_off(self) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        # The connections are lost first, so that nothing is answered there.
        loop = asyncio.get_running_loop()
        for task in list(self.server_state.tasks):
            loop.call_soon(task.cancel)
