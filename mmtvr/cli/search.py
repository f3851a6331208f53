"""``mmtvr search``: search an index by text or by video."""

import argparse
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mmtvr.cli.command import add_index, at_least

if TYPE_CHECKING:
    from mmtvr.search.query import SearchResult

EXAMPLES = """
examples:
  mmtvr search work_dirs/shapes_index "a red circle rising"
  mmtvr search INDEX "a dog catches a ball" "someone sings" --top-k 3
  mmtvr search INDEX --video holiday.mp4         # similar videos
  mmtvr search INDEX "a dog" --json | python -m json.tool
  mmtvr search IMPORTED_INDEX --vectors queries.npy   # (Q, D), any encoder

The index knows the config and the checkpoint that it was made with. A text is
compared with the pooled vectors of all videos, and the best --candidates are
then compared word by word and frame by frame by the head of the model.
"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line.

    Args:
        argv: The arguments behind ``mmtvr search``.

    Returns:
        The arguments.
    """
    parser = argparse.ArgumentParser(
        'mmtvr search',
        description='Find videos of an index.',
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_index(parser)
    parser.add_argument('texts', nargs='*', metavar='TEXT', help='queries')
    parser.add_argument(
        '--video', help='find videos that are similar to this file'
    )
    parser.add_argument(
        '--vectors',
        metavar='FILE',
        help='queries that the encoder of imported features made: a .npy (Q, '
        'D), or a .npz with them as "text"',
    )
    parser.add_argument(
        '--top-k',
        type=at_least(1),
        default=10,
        help='results of a query (default 10)',
    )
    parser.add_argument(
        '--candidates',
        type=at_least(1),
        default=100,
        help='neighbours that the head compares exactly (default 100)',
    )
    parser.add_argument(
        '--json', action='store_true', help='print the results as JSON'
    )
    # A list may stand behind options too.
    args = parser.parse_intermixed_args(argv)
    if sum(map(bool, (args.texts, args.video, args.vectors))) != 1:
        parser.error('give texts, or --video FILE, or --vectors FILE')
    return args


def search(args: argparse.Namespace) -> None:
    """Search as the command line says and print the results.

    Args:
        args: The arguments.
    """
    from mmtvr.apis.searcher import open_searcher
    from mmtvr.search.vectors import (
        is_imported,
        read_queries,
        search_by_name,
        search_by_vectors,
    )

    options = (args.top_k, args.candidates)
    if args.vectors:
        vectors, queries = read_queries(args.vectors)
        found = search_by_vectors(args.index, vectors, *options)
    elif args.video and is_imported(args.index):
        queries = [args.video]
        found = [search_by_name(args.index, args.video, *options)]
    else:
        searcher = open_searcher(args.index, args.checkpoint, args.device)
        queries = args.texts or [args.video]
        options = dict(top_k=args.top_k, candidates=args.candidates)
        if args.video:
            found = [searcher.search(video=args.video, **options)]
        else:
            found = searcher.search(args.texts, **options)
    if args.json:
        answers = [
            dict(query=query, results=[each.to_dict() for each in results])
            for query, results in zip(queries, found, strict=True)
        ]
        print(json.dumps(answers))
    else:
        print('\n\n'.join(map(describe, queries, found)))


def describe(query: str, results: Sequence['SearchResult']) -> str:
    """Put results into words.

    Args:
        query: What was asked.
        results: What was found.

    Returns:
        A line for the query and one for each result.
    """
    # Those of a file, a path among them, are what others wrote.
    lines = [_one_line(query)]
    for result in results:
        moment = '' if result.time is None else f'  at {result.time:.1f} s'
        words = '  '.join(
            f'{word.word} {word.time:.1f} s' for word in result.words
        )
        path = result.path.encode('utf-8', 'backslashreplace').decode()
        lines.append(
            f'{result.rank:3d}  {result.score:6.3f}  {_one_line(path)}'
            f'{moment}' + (f'  ({words})' if words else '')
        )
    if not results:
        lines.append('  nothing found: the index is empty')
    return '\n'.join(lines)


def _one_line(text: str) -> str:
    return text if text.isprintable() else repr(text)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``mmtvr search``.

    Args:
        argv: The arguments behind it.

    Returns:
        The exit status.
    """
    args = parse_args(argv)
    # PyTorch takes seconds to import, which --help does not need.
    from mmtvr.cli.command import run_command

    return run_command(lambda: search(args), 'nothing was changed')
