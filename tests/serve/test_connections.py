"""What silent, slow and many connections can do to others."""

import asyncio
import http.client
import socket
import time
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest
from starlette.responses import PlainTextResponse, StreamingResponse

from mmtvr.serve.connections import PageServer, _network

SOON = 10


async def app(scope, receive, send):
    """Answers at once, or without end, or after what was asked."""
    if scope['type'] == 'lifespan':
        while (await receive())['type'] != 'lifespan.shutdown':
            await send({'type': 'lifespan.startup.complete'})
        await send({'type': 'lifespan.shutdown.complete'})
        return
    answer = PlainTextResponse('answer')
    if scope['path'] == '/endless':

        async def endless():
            while True:
                yield b'x' * 2**16
                await asyncio.sleep(0)

        answer = StreamingResponse(endless())
    if scope['path'] == '/slow':
        await asyncio.sleep(30)
    await answer(scope, receive, send)


def connect(url, data=b''):
    where = urlsplit(url)
    connection = socket.create_connection((where.hostname, where.port), SOON)
    connection.sendall(data)
    return connection


def ask(url, path='/'):
    """Status and headers of an answer on a connection of its own."""
    where = urlsplit(url)
    client = http.client.HTTPConnection(where.hostname, where.port, SOON)
    client.request('GET', path)
    answer = client.getresponse()
    answer.read()
    client.close()
    return answer.status, answer.headers


def is_closed(connection, seconds=SOON):
    """Whether the server closes a connection within some seconds."""
    connection.settimeout(seconds)
    try:
        while connection.recv(2**16):
            pass
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False
    return True


@pytest.mark.parametrize(
    'limits', [dict(connections=8), dict(per_address=8)], ids=str
)
def test_silent_connections_make_room_for_others(serving, limits):
    with serving(app, **limits) as url, ExitStack() as stack:
        silent = [stack.enter_context(connect(url)) for _ in range(20)]
        assert ask(url)[0] == 200
        # The oldest went for it, the last ones are still there.
        assert is_closed(silent[0])
        assert not is_closed(silent[-1], 0.1)


@pytest.mark.parametrize(
    'said',
    [
        b'',
        b'GET / HT',
        b'GET / HTTP/1.1\r\nHost: localhost\r\n',
        b'GET / HTTP/1.1\r\nHost: localhost\r\n\r\nGET',
        b'POST / HTTP/1.1\r\nHost: localhost\r\ncontent-length: 9\r\n\r\nab',
    ],
)
def test_a_request_has_a_time_limit(serving, said):
    with serving(app, request_seconds=0.4) as url, connect(url, said) as one:
        start = time.monotonic()
        assert is_closed(one)
        assert time.monotonic() - start < SOON / 2


def test_saying_a_little_again_and_again_does_not_help(serving):
    with serving(app, request_seconds=0.5) as url, connect(url) as one:
        one.sendall(b'GET / HTTP/1.1\r\n')
        with pytest.raises(ConnectionError):  # noqa: PT012
            for number in range(100):
                one.sendall(b'a%d: b\r\n' % number)
                time.sleep(0.05)


def test_who_takes_nothing_is_let_go(serving):
    said = b'GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n'
    with serving(app, stalled_seconds=0.4) as url, connect(url, said) as one:
        time.sleep(1.5)
        assert is_closed(one)
        assert ask(url)[0] == 200


def test_more_than_can_be_worked_at_are_asked_to_come_back(serving):
    said = b'GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n'
    with serving(app, per_address=3) as url, ExitStack() as stack:
        for _ in range(3):
            busy = stack.enter_context(connect(url, said))
            assert busy.recv(4) == b'HTTP'
        status, headers = ask(url)
        assert status == 503
        assert headers['retry-after'] == '2'
        assert headers['x-content-type-options'] == 'nosniff'


def test_ipv6_addresses_count_by_network():
    same = {_network((f'2001:db8::{n}', 1)) for n in (1, 2)}
    assert len(same) == 1
    assert _network(('2001:db8:0:1::1', 1)) not in same
    assert _network(('::ffff:1.2.3.4', 1)) == _network(('1.2.3.4', 1))


def test_the_end_waits_neither_for_downloads_nor_for_answers(capfd):
    listening = socket.create_server(('127.0.0.1', 0))
    url = f'http://127.0.0.1:{listening.getsockname()[1]}'

    async def run():
        server = PageServer(app)
        running = asyncio.create_task(server._serve([listening]))
        while not server.started:
            await asyncio.sleep(0.01)
        clients = [
            connect(url, f'GET {path} HTTP/1.1\r\nHost: a\r\n\r\n'.encode())
            for path in ('/endless', '/slow')
        ]
        await asyncio.sleep(0.2)
        start = time.monotonic()
        server.should_exit = True
        await running
        for client in clients:
            client.close()
        return time.monotonic() - start

    assert asyncio.run(run()) < 3
    assert capfd.readouterr().err == ''
