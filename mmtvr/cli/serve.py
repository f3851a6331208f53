"""``mmtvr serve``: search an index in the browser."""

import argparse
import json
import os
import socket
import sys
from collections.abc import Sequence
from hashlib import blake2b
from ipaddress import ip_address
from pathlib import Path

from mmtvr.cli.command import (
    add_index,
    at_least,
    check_checkpoint,
    note_after_a_while,
)
from mmtvr.errors import SetupError, import_extra

TOKEN = 'MMTVR_TOKEN'
MIN_TOKEN = 16
PUBLIC_RATE = 50.0
EXAMPLES = """
examples:
  mmtvr serve work_dirs/shapes_index              # http://127.0.0.1:8000/
  mmtvr serve INDEX --port 0                      # any free port
  mmtvr serve INDEX --host 0.0.0.0 --allow-host videos.example.org

The index knows the config and the checkpoint that it was made with. Only
files of the index are sent, as long as they are as they were indexed. With
another --host than that of this machine, give a token (--token-file): without
one, whoever reaches it can search and watch. Programs ask /api/search?q=TEXT.
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
    parser.add_argument(
        '--per-address',
        type=at_least(1),
        default=128,
        metavar='N',
        help='connections of one address at a time, of 256 in all; behind a '
        'proxy all have its address: 256 (default: 128)',
    )
    parser.add_argument(
        '--allow-indexing',
        action='store_true',
        help='let the page take in new files though other machines reach it; '
        'on this machine alone it may',
    )
    parser.add_argument(
        '--title', help='name on the page (default: that of the index)'
    )
    parser.add_argument('--config', help='in place of the one of the index')
    parser.add_argument(
        '--cache', help="folder of posters and previews (default: the user's)"
    )
    parser.add_argument(
        '--judgements',
        metavar='FILE',
        help='where what people say of results, right or wrong, is kept '
        "(default: among the user's data)",
    )
    parser.add_argument(
        '--export-judgements',
        metavar='QRELS',
        help='write them as TREC has them, and their queries beside them, and '
        'serve nothing',
    )
    parser.add_argument(
        '--token-file',
        metavar='FILE',
        help='ask everybody for the token that it holds; the environment '
        'variable MMTVR_TOKEN may hold it instead',
    )
    parser.add_argument(
        '--rate',
        type=float,
        metavar='N',
        help='requests of one address a second, for long; 0 for any number '
        '(default: 50, and any number on this machine alone)',
    )
    parser.add_argument(
        '--access-log',
        metavar='FILE',
        help='add a line of JSON for each request, without what was searched '
        'for; - for stderr',
    )
    parser.add_argument(
        '--log-queries',
        action='store_true',
        help='with what was searched for and watched',
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
    from mmtvr.search.judgements import Judgements, find_judgements
    from mmtvr.search.stores import hide_secrets, open_store

    address = open_store(args.index).url
    judgements = find_judgements(args.judgements, address)
    if args.export_judgements:
        queries, count = Judgements(judgements).export(args.export_judgements)
        print(f'{count} judgements of {queries} queries')
        return
    cache = find_cache(args.cache, address)
    token = read_token(args.token_file)
    for package in ('jinja2', 'prometheus_client', 'starlette', 'uvicorn'):
        import_extra(package, 'serve', '`mmtvr serve`')
    # Before the model and what it needs are imported, which takes seconds.
    listening = listen(args.host, args.port)
    host, port = listening.getsockname()[:2]
    index = hide_secrets(args.index)
    check_checkpoint(args.checkpoint)
    if args.config:
        from mmtvr.config import find_config

        find_config(args.config)
    with note_after_a_while(f'opening the index {index} and its model ...'):
        open_store(args.index).require_info()
        from mmtvr.apis import TextVideoSearcher, open_searcher
        from mmtvr.serve.app import Access, create_app
        from mmtvr.serve.connections import Limits, PageServer
        from mmtvr.serve.monitoring import open_log

        leave_cores()
        if args.config:
            searcher = TextVideoSearcher(
                args.config, args.checkpoint, args.device
            )
            searcher.open(args.index)
        else:
            searcher = open_searcher(args.index, args.checkpoint, args.device)
        app = create_app(
            searcher,
            title=args.title or find_title(index),
            cache=cache,
            hosts=[name.lower() for name in (args.host, *args.allow_host)],
            judgements=judgements,
            can_index=args.allow_indexing or is_loopback(host),
            access=Access(
                token,
                find_rate(args.rate, host),
                open_log(args.access_log),
                args.log_queries,
            ),
        )
    shown = f'[{host}]' if ':' in host else host
    if not is_loopback(host) and token is None:
        print(
            f'warning: {shown} can be reached from other machines, and there '
            'is no token (--token-file): whoever reaches it can search and '
            'watch',
            file=sys.stderr,
        )
    url, videos = f'http://{shown}:{port}/', searcher.store.count_files()
    if args.json:
        facts = dict(url=url, index=index, videos=videos)
        print(json.dumps(facts), flush=True)
    else:
        print(f'{videos} videos of {index} at {url}\nCtrl-C stops', flush=True)
    limits = Limits(per_address=args.per_address)
    PageServer(app, limits).run(sockets=[listening])


def read_token(path: str | None) -> str | None:
    """The token of a file or of the environment; None if there is neither.

    Raises:
        SetupError: The file cannot be read, or the token is too short to be a
            secret.
    """
    where, token = TOKEN, os.environ.get(TOKEN)
    if path is not None:
        try:
            where, token = path, Path(path).read_text('utf-8').strip()
        except (OSError, UnicodeError) as error:
            why = getattr(error, 'strerror', None) or 'it is no text in UTF-8'
            raise SetupError(
                f'--token-file {path} cannot be read: {why}. It holds the '
                'token alone, such as that of `openssl rand -hex 16`'
            ) from error
    if token is not None and len(token) < MIN_TOKEN:
        raise SetupError(
            f'the token in {where} has {len(token)} characters: take at '
            f'least {MIN_TOKEN}, such as those of `openssl rand -hex 16`'
        )
    return token


def find_rate(rate: float | None, host: str) -> float:
    """Requests a second of one address; 0 for any number.

    Raises:
        SetupError: It is negative.
    """
    if rate is None:
        return 0.0 if is_loopback(host) else PUBLIC_RATE
    if rate < 0:
        raise SetupError(f'--rate must be at least 0, got {rate:g}')
    return rate


def leave_cores() -> None:
    """Let the model compute with half of the cores, unless told otherwise.

    The store, decoders and connections need the others. OpenMP's threads wait
    for each other by spinning: on two busy cores a search with two threads
    took four times the CPU time of one with one thread.
    """
    import torch

    if 'OMP_NUM_THREADS' not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() // 2))


def find_title(index: str) -> str:
    """Name an index for people, without saying where it is."""
    place = index.partition('?')[0].rstrip('/' + os.sep)
    if '://' not in place:
        place = os.path.abspath(place)
    return os.path.basename(place) or place


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
    """The folder asked for, or one of this index in the user's cache.

    Raises:
        SetupError: A file has its name.
    """
    from platformdirs import user_cache_path

    if folder:
        if Path(folder).exists() and not Path(folder).is_dir():
            raise SetupError(
                f'--cache {folder} is a file: give a folder, which is created '
                'if it does not exist'
            )
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
