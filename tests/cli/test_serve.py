import json
import socket
import sys
from types import SimpleNamespace

import pytest

from mmtvr.cli import serve as serve_command
from mmtvr.cli.main import main
from mmtvr.cli.serve import find_cache, is_loopback, listen
from mmtvr.errors import SetupError


@pytest.fixture
def served(monkeypatch, tmp_path):
    """Run the command without a model; returns what uvicorn was given."""
    given = SimpleNamespace()
    store = SimpleNamespace(url='shapes', count_files=lambda: 6)

    class Server:
        def __init__(self, app, limits):
            given.limits = limits

        def run(self, sockets):
            given.address = sockets[0].getsockname()
            sockets[0].close()

    def create_app(searcher, **options):
        given.options = options
        return searcher

    monkeypatch.setattr(
        'mmtvr.apis.open_searcher',
        lambda *arguments: SimpleNamespace(store=store, asked=arguments),
    )
    monkeypatch.setattr(
        'mmtvr.search.stores.open_store',
        lambda index: SimpleNamespace(url='shapes', require_info=dict),
    )
    monkeypatch.setattr('mmtvr.serve.app.create_app', create_app)
    monkeypatch.setattr('mmtvr.serve.connections.PageServer', Server)

    def run(*arguments, index='shapes'):
        arguments = ['serve', index, '--cache', str(tmp_path), *arguments]
        given.status = main(arguments)
        return given

    return run


def test_it_listens_at_this_machine_alone(served, capsys):
    given = served('--port', '0')
    assert given.status == 0
    host, port = given.address
    assert host == '127.0.0.1'
    out, err = capsys.readouterr()
    assert f'6 videos of shapes at http://127.0.0.1:{port}/' in out
    assert not err
    assert given.limits.per_address == 128


def test_programs_are_told_the_address(served, capsys):
    host, port = served('--port', '0', '--json').address
    told = json.loads(capsys.readouterr().out)
    assert told == dict(url=f'http://{host}:{port}/', index='shapes', videos=6)


def test_the_page_does_not_tell_how_to_log_in(served, capsys):
    address = 'https://{}db.example.org/shapes{}'
    given = served(
        *('--port', '0'), index=address.format('ann:secret@', '?token=secret')
    )
    assert given.options['title'] == 'shapes'
    assert 'secret' not in ''.join(capsys.readouterr())


def test_other_addresses_are_warned_of(served, capsys):
    given = served(
        *('--port', '0', '--host', '0.0.0.0', '--allow-host', 'My.Name')
    )
    assert given.options['hosts'] == ['0.0.0.0', 'my.name']
    assert 'there is no token' in capsys.readouterr().err


def test_a_token_is_asked_for_and_must_be_a_secret(
    served, tmp_path, monkeypatch, capsys
):
    token = tmp_path / 'token'
    token.write_text('0123456789abcdef\n')
    given = served(
        *('--port', '0', '--host', '0.0.0.0', '--token-file', str(token))
    )
    access = given.options['access']
    assert (access.token, access.rate) == ('0123456789abcdef', 50)
    assert not given.options['can_index']
    assert 'warning' not in capsys.readouterr().err
    monkeypatch.setenv('MMTVR_TOKEN', 'short')
    assert served('--port', '0').status == 1
    assert 'MMTVR_TOKEN has 5 characters' in capsys.readouterr().err


def test_a_port_that_is_taken_is_told(capsys):
    with socket.create_server(('127.0.0.1', 0)) as taken:
        port = taken.getsockname()[1]
        assert main(['serve', 'nowhere', '--port', str(port)]) == 1
    message = capsys.readouterr().err
    assert f'cannot listen at 127.0.0.1, port {port}' in message
    assert '--port' in message


@pytest.mark.parametrize(
    ('host', 'port'), [('no such host', 0), ('127.0.0.1', 70000)]
)
def test_addresses_that_are_none_are_told(host, port):
    with pytest.raises(SetupError, match='cannot listen at'):
        listen(host, port)


def test_an_index_that_is_not_there_is_told(capsys, tmp_path):
    assert main(['serve', str(tmp_path / 'none'), '--port', '0']) == 1
    assert 'there is no index' in capsys.readouterr().err


@pytest.mark.parametrize('option', ['--checkpoint', '--config'])
def test_typing_errors_cost_no_imports(served, monkeypatch, capsys, option):
    def fail(*_):
        raise AssertionError('what is heavy comes after the checks')

    monkeypatch.setattr('mmtvr.apis.open_searcher', fail)
    monkeypatch.setattr('mmtvr.apis.TextVideoSearcher', fail)
    assert served('--port', '0', option, 'nowhere').status == 1
    assert 'nowhere' in capsys.readouterr().err


def test_the_page_is_named_by_the_index_or_as_asked(served):
    assert served('--port', '0').options['title'] == 'shapes'
    place = '/home/ann/secret/holidays/'
    assert served('--port', '0', index=place).options['title'] == 'holidays'
    named = served('--port', '0', '--title', 'Our clips')
    assert named.options['title'] == 'Our clips'


@pytest.mark.parametrize(
    'package', ['jinja2', 'prometheus_client', 'starlette', 'uvicorn']
)
def test_a_missing_package_is_named_with_its_extra(
    package, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, package, None)
    assert main(['serve', 'shapes']) == 1
    assert capsys.readouterr().err == (
        f'error: `mmtvr serve` needs {package}, which is not installed: '
        "pip install 'mmtvr[serve]'\n"
    )


def test_ctrl_c_ends_it_without_a_traceback(served, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(serve_command, 'is_loopback', stop)
    assert served('--port', '0').status == 130


def test_loopback_addresses_are_known():
    for host in ('127.0.0.1', '127.8.9.1', '::1'):
        assert is_loopback(host)
    for host in ('0.0.0.0', '::', '192.168.1.2', 'fe80::1%eth0'):
        assert not is_loopback(host)


def test_each_index_has_a_cache_of_its_own():
    first, second = find_cache(None, 'a'), find_cache(None, 'b')
    assert first != second
    assert first == find_cache(None, 'a')
    assert serve_command.find_cache('here', 'a').name == 'here'
