"""``mmtvr serve``: search an index in the browser."""

import argparse
import json
import socket
import sys
from collections.abc import Sequence
from hashlib import blake2b
from ipaddress import ip_address
from pathlib import Path

from mmtvr.cli.command import add_index
from mmtvr.errors import SetupError, import_extra

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
    """Read the arguments behind ``mmtvr serve``."""
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

    Raises:
        SetupError: A package is missing, the port is taken, or there is no
            index.
    """
    for package in ('jinja2', 'starlette', 'uvicorn'):
        import_extra(package, 'serve', '`mmtvr serve`')
    import uvicorn

    # Before the model and what it needs are imported, which takes seconds.
    listening = listen(args.host, args.port)
    host, port = listening.getsockname()[:2]
    from mmtvr.search.stores import hide_secrets, open_store

    open_store(args.index).require_info()
    from mmtvr.apis import TextVideoSearcher, open_searcher
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
    url, videos = f'http://{shown}:{port}/', searcher.store.count_files()
    if args.json:
        facts = dict(url=url, index=index, videos=videos)
        print(json.dumps(facts), flush=True)
    else:
        print(f'{videos} videos of {index} at {url}\nCtrl-C stops', flush=True)
    config = uvicorn.Config(
        app,
        log_level='warning',
        limit_concurrency=256,
        server_header=False,
        timeout_graceful_shutdown=2,
    )
    uvicorn.Server(config).run(sockets=[listening])


def listen(host: str, port: int) -> socket.socket:
    """Listen at an address; port 0 is any that is free.

    Raises:
        SetupError: Somebody listens there, or the address is not ours.
    """
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
    """Whether an address in figures is reached from this machine alone."""
    return ip_address(host.partition('%')[0]).is_loopback


def find_cache(folder: str | None, url: str) -> Path:
    """The folder asked for, or one of this index in the user's cache."""
    from platformdirs import user_cache_path

    if folder:
        return Path(folder)
    name = blake2b(url.encode('utf-8', 'surrogatepass'), digest_size=8)
    return user_cache_path('mmtvr') / 'serve' / name.hexdigest()


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``mmtvr serve``; its exit status is 130 after Ctrl-C."""
    args = parse_args(argv)
    # What is imported for it is not needed by --help.
    from mmtvr.cli.command import run_command

    # uvicorn has ended what it was at, and passes Ctrl-C on.
    return run_command(lambda: serve(args), 'the page is closed')
