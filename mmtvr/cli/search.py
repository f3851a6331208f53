"""``mmtvr search``: search an index by text or by video."""

import argparse
import json
import os
from collections.abc import Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from mmtvr.cli.command import (
    add_index,
    at_least,
    check_checkpoint,
    note_after_a_while,
    parse_with_files,
)

if TYPE_CHECKING:
    from mmtvr.datasets.transforms.text import TextReading
    from mmtvr.search.query import SearchResult

TOKEN = 'MMTVR_TOKEN'
EXAMPLES = """
examples:
  mmtvr search work_dirs/shapes_index "a red circle rising"
  mmtvr search INDEX "a dog catches a ball" "someone sings" --top-k 3
  mmtvr search INDEX --video holiday.mp4         # similar videos
  mmtvr search INDEX "a dog" --json | python -m json.tool
  mmtvr search INDEX "a dog" --where "duration < 60 and folder like 'home%'"
  mmtvr search INDEX "a dog" --page 2
  mmtvr search --server http://127.0.0.1:8000 "a dog"   # of `mmtvr serve`
  mmtvr search IMPORTED_INDEX --vectors queries.npy   # (Q, D), any encoder

The index knows the config and the checkpoint that it was made with. A text is
compared with the pooled vectors of all videos, and the best --candidates are
then compared word by word and frame by frame by the head of the model.
"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the arguments behind ``mmtvr search``."""
    parser = argparse.ArgumentParser(
        'mmtvr search',
        description='Find videos of an index.',
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_index(parser)
    parser.add_argument('texts', nargs='*', metavar='TEXT', help='queries')
    parser.add_argument(
        '--server',
        metavar='URL',
        help='ask a running `mmtvr serve` (http://HOST:PORT) and load no '
        'model; there is no INDEX then, only texts. The environment variable '
        'MMTVR_TOKEN holds the token of one that asks for it',
    )
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
        '--where',
        metavar='SQL',
        help='only videos whose columns match: "duration < 60 and folder like '
        "'holiday%%'\"",
    )
    pages = parser.add_mutually_exclusive_group()
    pages.add_argument(
        '--offset',
        type=at_least(0),
        default=0,
        help='leave out so many of the best, those of earlier pages',
    )
    pages.add_argument(
        '--page',
        type=at_least(1),
        help='this page of --top-k results, from 1',
    )
    parser.add_argument(
        '--match',
        choices=('auto', 'video', 'text'),
        default='auto',
        help='where a text is looked for: in what is seen, in the subtitles '
        'and texts of the videos, or in both (auto)',
    )
    parser.add_argument(
        '--json', action='store_true', help='print the results as JSON'
    )
    args = parse_with_files(parser, argv)
    if args.server:
        # What would be the index is the first of the texts.
        args.texts = [args.index, *args.texts]
    if args.server and (args.video or args.vectors):
        parser.error('--server takes texts')
    if sum(map(bool, (args.texts, args.video, args.vectors))) != 1:
        parser.error('give texts, or --video FILE, or --vectors FILE')
    if args.page:
        args.offset = (args.page - 1) * args.top_k
    return args


def search(args: argparse.Namespace) -> None:
    """Search as the command line says and print the results."""
    if args.server:
        _ask_server(args)
        return
    from mmtvr.search.stores import open_store

    # Before the model and what it needs are imported, which takes seconds.
    check_checkpoint(args.checkpoint)
    store = open_store(args.index)
    with note_after_a_while(f'opening the index {store.url} ...'):
        info = store.require_info()
        queries, found, readings = _find(args, bool(info.get('imported')))
    if args.json:
        answers = [
            dict(
                query=query,
                **reading._asdict(),
                results=[each.to_dict() for each in results],
            )
            for query, results, reading in zip(
                queries, found, readings, strict=True
            )
        ]
        print(json.dumps(answers))
    else:
        notes = [reading.describe() for reading in readings]
        print('\n\n'.join(map(describe, queries, found, notes)))


def _ask_server(args: argparse.Namespace) -> None:
    from mmtvr.apis.client import SearchClient

    client = SearchClient(args.server, os.environ.get(TOKEN))
    answers = [
        client.search(
            text,
            args.top_k,
            where=args.where,
            offset=args.offset,
            match=args.match,
        )
        for text in args.texts
    ]
    if args.json:
        print(json.dumps(answers))
        return
    print('\n\n'.join(map(_describe_answer, answers)))


def _describe_answer(answer: dict[str, Any]) -> str:
    """Put an answer of a server into lines, as those of an index."""
    results = [
        SimpleNamespace(
            **{
                **each,
                'path': each['name'],
                'copies': range(each['copies']),
                'words': [SimpleNamespace(**word) for word in each['words']],
            }
        )
        for each in answer['results']
    ]
    return describe(answer['query'], results, answer.get('note', ''))


def _find(
    args: argparse.Namespace, is_imported: bool
) -> tuple[Sequence[str], list[list['SearchResult']], list['TextReading']]:
    """The queries, the results of each, and what of it was not read."""
    from mmtvr import apis
    from mmtvr.datasets.transforms.text import TextReading

    options: dict[str, Any] = dict(
        top_k=args.top_k,
        candidates=args.candidates,
        where=args.where,
        offset=args.offset,
    )
    if args.vectors:
        from mmtvr.search.query import read_queries

        vectors, queries = read_queries(args.vectors)
        found = apis.search_by_vectors(args.index, vectors, **options)
        return queries, found, [TextReading()] * len(queries)
    if args.video and is_imported:
        found = apis.search_by_name(args.index, args.video, **options)
        return [args.video], [found], [TextReading()]
    searcher = apis.open_searcher(args.index, args.checkpoint, args.device)
    if args.video:
        found = searcher.search(video=args.video, **options)
        return [args.video], [found], [TextReading()]
    found = searcher.search(args.texts, match=args.match, **options)
    return args.texts, found, list(map(searcher.read_text, args.texts))


def describe(
    query: str, results: Sequence['SearchResult'], note: str = ''
) -> str:
    """Put a query, what of it was not read, and its results into lines."""
    # Those of a file, a path among them, are what others wrote.
    lines = [_one_line(query)]
    if note:
        lines.append(f'  note: {_one_line(note)}')
    for result in results:
        moment = '' if result.time is None else f'  at {result.time:.1f} s'
        words = '  '.join(
            f'{word.word} {word.time:.1f} s' for word in result.words
        )
        path = result.path.encode('utf-8', 'backslashreplace').decode()
        lines.append(
            f'{result.rank:3d}  {result.score:6.3f}  {_one_line(path)}'
            f'{moment}'
            + (f'  ({words})' if words else '')
            + _describe_files(result)
        )
        if 'text' in result.matched:
            time, text = result.snippet_time, _one_line(result.snippet)
            at = '' if time is None else f' at {time:.1f} s'
            lines.append(f'        text{at}: {text}')
    if not results:
        lines.append('  nothing found')
    return '\n'.join(lines)


def _describe_files(result: 'SearchResult') -> str:
    """Its copies, and whether it is there."""
    notes, count = '', len(result.copies)
    if count:
        notes += f'  and {count} cop{"ies" if count > 1 else "y"}'
    if result.is_gone:
        notes += '  (no longer there)'
    return notes


def _one_line(text: str) -> str:
    return text if text.isprintable() else repr(text)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``mmtvr search`` and return its exit status."""
    args = parse_args(argv)
    # What is imported for it is not needed by --help.
    from mmtvr.cli.command import run_command

    return run_command(lambda: search(args), 'nothing was changed')
