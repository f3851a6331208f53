"""``mmtvr serve``: search an index in the browser."""

import argparse
import json
import socket
import sys
from collections.abc import Sequence
from ipaddress import ip_address

from mmtvr.cli.command import add_index

EXAMPLES = """
examples:
  mmtvr serve work_dirs/shapes_index              # http://127.0.0.1:8000/
  mmtvr serve INDEX --port 0                      # any free port
  mmtvr serve INDEX --host 0.0.0.0 --allow-host videos.example.org

The index knows the config and the checkpoint that it was made with. Only
files of the index are sent, as long as they are as they were indexed. There is
no password: with another --host than that of this machine, whoever reaches it
can search and watch. Programs ask /api/search?q=TEXT.
"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line.

    Args:
        argv: The arguments behind ``mmtvr serve``.

    Returns:
        The arguments.
    """
    parser = argparse.ArgumentParser(
        'mmtvr serve',
        description='Search an index in the browser.',
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_index(parser)
    parser.add_argument(
        '--host', default='127.0.0.1', help='address to listen at'
    )
    parser.add_argument(
        '--port', type=int, default=8000, help='0 for any that is free'
    )
    parser.add_argument(
        '--allow-host',
        action='append',
        default=[],
        metavar='NAME',
        help='a name under which people reach it; may be given several times',
    )
    parser.add_argument('--config', help='in place of the one of the index')
    parser.add_argument(
        '--cache', help="folder of posters and previews (default: the user's)"
    )
    parser.add_argument(
        '--json', action='store_true', help='say as JSON where the page is'
    )
    return parser.parse_args(argv)


def serve(args: argparse.Namespace) -> None:
    """Serve as the command line says, until it is stopped.

    Args:
        args: The arguments.

    Raises:
        SetupError: A package is missing, the port is taken, or there is no
            index.
    """
    uvicorn = _uvicorn()
    # Before the model is loaded, which takes its time.
    listening = listen(args.host, args.port)
    host, port = listening.getsockname()[:2]
    from mmtvr.apis.searcher import TextVideoSearcher, open_searcher
    from mmtvr.search.stores.base import hide_secrets
    from mmtvr.serve.app import create_app

    if args.config:
        searcher = TextVideoSearcher(args.config, args.checkpoint, args.device)
        searcher.open(args.index)
    else:
        searcher = open_searcher(args.index, args.checkpoint, args.device)
    index = hide_secrets(args.index)
    app = create_app(
        searcher,
        title=index,
        cache=find_cache(args.cache, searcher.store.url),
        hosts=[name.lower() for name in (args.host, *args.allow_host)],
    )
    shown = f'[{host}]' if ':' in host else host
    if not is_loopback(host):
        print(
            f'warning: {shown} can be reached from other machines, and there '
            'is no password: whoever reaches it can search and watch',
            file=sys.stderr,
        )
    facts = dict(url=f'http://{shown}:{port}/', index=index)
    announce(dict(facts, videos=searcher.store.count_videos()), args.json)
    config = uvicorn.Config(
        app,
        log_level='warning',
        limit_concurrency=256,
        server_header=False,
        timeout_graceful_shutdown=2,
    )
    uvicorn.Server(config).run(sockets=[listening])


def announce(facts: dict[str, str | int], as_json: bool) -> None:
    """Say where the page is.

    Args:
        facts: ``url`` of the page, ``index`` and its number of ``videos``.
        as_json: Whether a program asks.
    """
    if as_json:
        print(json.dumps(facts), flush=True)
    else:
        print('{videos} videos of {index} at {url}'.format(**facts))
        print('Ctrl-C stops', flush=True)


def listen(host: str, port: int) -> socket.socket:
    """Listen at an address.

    Args:
        host: Address or name.
        port: Port; 0 for any that is free.

    Returns:
        The socket.

    Raises:
        SetupError: Somebody listens there, or the address is not ours.
    """
    from mmtvr.errors import SetupError

    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        reason = getattr(error, 'strerror', None) or error
        raise SetupError(
            f'cannot listen at {host}, port {port}: {reason}. Choose another '
            'one with --port (0 takes any that is free) or --host'
        ) from error


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine alone.

    Args:
        host: Address in figures.

    Returns:
        The answer.
    """
    return ip_address(host.partition('%')[0]).is_loopback


def find_cache(folder: str | None, url: str) -> 'Path':  # noqa: F821
    """Choose the folder of posters and previews.

    Args:
        folder: What was asked for, or None.
        url: The index.

    Returns:
        That folder, or one of this index in the user's cache.
    """
    from hashlib import blake2b
    from pathlib import Path

    from platformdirs import user_cache_path

    if folder:
        return Path(folder)
    name = blake2b(url.encode('utf-8', 'surrogatepass'), digest_size=8)
    return user_cache_path('mmtvr') / 'serve' / name.hexdigest()


def _uvicorn() -> object:
    from mmtvr.errors import SetupError

    try:
        import starlette  # noqa: F401
        import uvicorn
    except ImportError as error:
        raise SetupError(
            f'the page needs {error.name}, which is not installed: '
            'pip install starlette uvicorn'
        ) from error
    return uvicorn


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``mmtvr serve``.

    Args:
        argv: The arguments behind it.

    Returns:
        The exit status: 130 when stopped from the keyboard.
    """
    args = parse_args(argv)
    # PyTorch takes seconds to import, which --help does not need.
    from mmtvr.cli.command import run_command

    # uvicorn has ended what it was at, and passes Ctrl-C on.
    return run_command(lambda: serve(args), 'the page is closed')
