"""``mmtvr search``: search an index by text or by video."""

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from shutil import get_terminal_size
from textwrap import wrap
from types import MappingProxyType
from typing import TYPE_CHECKING

from mmtvr.cli.command import (
    add_index,
    at_least,
    check_checkpoint,
    note_after_a_while,
    parse_with_files,
)
from mmtvr.errors import SetupError

if TYPE_CHECKING:
    from mmtvr.datasets.transforms.text import TextReading
    from mmtvr.search.query import SearchResult

# Of what stands below a result: the columns of rank and score.
INDENT = ' ' * 13
# A space at which no line is broken.
TIED = '\xa0'
# Frames that are further apart say little about moments.
COARSE_SECONDS = 10.0
EXAMPLES = """
examples:
  mmtvr search work_dirs/shapes_index \\
      "a red circle rising then a white circle falling"
  mmtvr search INDEX "a dog catches a ball" "someone sings" --top-k 3
  mmtvr search INDEX --video holiday.mp4         # similar videos
  mmtvr search INDEX "a dog" --moments           # from when to when
  mmtvr search INDEX "a dog" --json | python -m json.tool
  mmtvr search IMPORTED_INDEX --vectors queries.npy   # (Q, D), any encoder

Below each result: when its key words are seen best, and, where the videos were
indexed by an annotation file, the caption that is most like the query.

The index knows the config and the checkpoint that it was made with. The
sentence and the words of a text are compared with parts of all videos, and the
best --candidates then frame by frame by the head of the model. Where scores
are calibrated (`mmtvr index --calibrate`), the percentage says how probable it
is that a video shows what is asked, and it is said where the best one is more
probably wrong than right; --min-score lists from a score on.
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
        '--min-score',
        type=float,
        metavar='S',
        help='leave out results with a lower score',
    )
    parser.add_argument(
        '--nnn',
        type=float,
        default=0.0,
        metavar='ALPHA',
        help='rank videos lower that come first whatever is asked, by this '
        'share of what `mmtvr index --hubness` measured (default 0: not)',
    )
    parser.add_argument(
        '--moments',
        action='store_true',
        help='also say from when to when each video shows what the text says',
    )
    parser.add_argument(
        '--json', action='store_true', help='print the results as JSON'
    )
    args = parse_with_files(parser, argv)
    if sum(map(bool, (args.texts, args.video, args.vectors))) != 1:
        parser.error('give texts, or --video FILE, or --vectors FILE')
    if args.moments and not args.texts:
        parser.error('--moments goes with texts')
    return args


def search(args: argparse.Namespace) -> None:
    """Search as the command line says and print the results."""
    from mmtvr.search.stores import open_store

    # Before the model and what it needs are imported, which takes seconds.
    check_checkpoint(args.checkpoint)
    store = open_store(args.index)
    with note_after_a_while(f'opening the index {store.url} ...'):
        info = store.require_info()
        queries, found, readings = _find(args, bool(info.get('imported')))
    from mmtvr.search.calibration import fits

    if args.json:
        answers = [
            dict(
                query=query,
                **reading._asdict(),
                fits=fits(results),
                results=[each.to_dict() for each in results],
            )
            for query, results, reading in zip(
                queries, found, readings, strict=True
            )
        ]
        print(json.dumps(answers))
    else:
        notes = [reading.describe() for reading in readings]
        captions = [find_captions(found)] * len(found)
        unfit = [results[:1] * (not fits(results)) for results in found]
        print(
            '\n\n'.join(map(describe, queries, found, notes, captions, unfit))
        )
        steps = [
            each.moment_step or 0 for results in found for each in results
        ]
        if max(steps, default=0) > COARSE_SECONDS and not info.get('window'):
            print(
                f'\nnote: frames of a video are up to {max(steps):.0f} s '
                'apart, and moments no finer; an index that is made now, in '
                'another place, has windows of long videos'
            )


def _find(
    args: argparse.Namespace, is_imported: bool
) -> tuple[Sequence[str], list[list['SearchResult']], list['TextReading']]:
    """The queries, the results of each, and what of it was not read."""
    from mmtvr import apis
    from mmtvr.datasets.transforms.text import TextReading

    options = dict(top_k=args.top_k, candidates=args.candidates)
    if args.vectors:
        from mmtvr.search.query import read_queries

        vectors, queries = read_queries(args.vectors)
        found = apis.search_by_vectors(args.index, vectors, **options)
        found = [_from_score(each, args.min_score) for each in found]
        return queries, found, [TextReading()] * len(queries)
    if args.video and is_imported:
        found = apis.search_by_name(args.index, args.video, **options)
        found = _from_score(found, args.min_score)
        return [args.video], [found], [TextReading()]
    searcher = apis.open_searcher(args.index, args.checkpoint, args.device)
    options['min_score'] = args.min_score
    if args.video:
        found = searcher.search(video=args.video, **options)
        return [args.video], [found], [TextReading()]
    found = searcher.search(
        args.texts, moments=args.moments, nnn=args.nnn, **options
    )
    return args.texts, found, list(map(searcher.read_text, args.texts))


def _from_score(
    results: list['SearchResult'], least: float | None
) -> list['SearchResult']:
    return [each for each in results if least is None or each.score >= least]


def find_captions(
    found: Sequence[Sequence['SearchResult']],
) -> dict[tuple, tuple[str, ...]]:
    """Read the captions of results that an annotation file named.

    Returns:
        By path, start and end. Nothing of a file that is no longer there or
        has changed: what was found is worth showing without.
    """
    sources = {each.source for results in found for each in results}
    captions: dict[tuple, tuple[str, ...]] = {}
    for source in sorted(sources):
        if not source.endswith('.json'):
            continue
        from mmtvr.search.video_files import read_captioned

        with suppress(SetupError, OSError):
            for video, texts in read_captioned(source):
                captions[video.path, video.start, video.end] = texts
    return captions


def describe(
    query: str,
    results: Sequence['SearchResult'],
    note: str = '',
    captions: Mapping[tuple, Sequence[str]] = MappingProxyType({}),
    unfit: Sequence['SearchResult'] = (),
) -> str:
    """Put a query, what of it was not read, and its results into lines.

    Args:
        query: The query.
        results: Its results, the best first.
        note: What of it was not read.
        captions: Of some results, by path, start and end. The one that
            shares most words with the query is shown.
        unfit: The best result where probably nothing fits.
    """
    # Those of a file, a path among them, are what others wrote.
    lines = [_one_line(query)]
    if note:
        lines.append(f'  note: {_one_line(note)}')
    width = get_terminal_size().columns - len(INDENT)
    if unfit:
        (best,) = unfit
        lines.append(
            f'  probably nothing fits: the best shows it with a probability '
            f'of {best.probability:.0%}; the nearest are'
        )
    for result in results:
        path = result.path.encode('utf-8', 'backslashreplace').decode()
        moment = '' if result.time is None else f'  at {result.time:.1f} s'
        lines.append(
            f'{result.rank:3d}  {result.score:6.3f}  {_percent(result)}'
            f'{_one_line(_shorten(path))}{moment}{_describe_files(result)}'
        )
        texts = captions.get((result.path, result.start, result.end))
        details = [_describe_words(result)]
        if result.moments:
            details.insert(0, _describe_moments(result))
        if texts:
            caption = max(texts, key=lambda text: _likeness(text, query))
            details.append(f'“{_one_line(caption)}”')
        for detail in filter(None, details):
            broken = wrap(detail, max(width, 40))
            lines += [INDENT + each.replace(TIED, ' ') for each in broken]
    if not results:
        lines.append('  nothing found: the index is empty')
    return '\n'.join(lines)


def _percent(result: 'SearchResult') -> str:
    if result.probability is None:
        return ''
    return f'{result.probability:4.0%}  '


def _describe_words(result: 'SearchResult') -> str:
    """When the words are seen best: ``0.5 s red circle · 1.5 s blue bar``."""
    times: dict[str, list[str]] = {}
    for word in sorted(result.words, key=lambda each: each.time):
        times.setdefault(f'{word.time:.1f} s', []).append(word.word)
    parts = [f'{time} {" ".join(words)}' for time, words in times.items()]
    return ' · '.join(part.replace(' ', TIED) for part in parts)


def _shorten(path: str) -> str:
    """The path from the current folder, if the file is in it."""
    folder = os.getcwd() + os.sep
    return path.removeprefix(folder) if path.startswith(folder) else path


def _likeness(text: str, query: str) -> float:
    """Share of common words among all of two texts."""
    one, other = ({*each.lower().split()} for each in (text, query))
    return len(one & other) / max(len(one | other), 1)


def _describe_moments(result: 'SearchResult') -> str:
    """From when to when, and how exact that is."""
    spans = ', '.join(
        f'{each.start:.1f} to {each.end:.1f} s' for each in result.moments
    )
    return f'from {spans}  (frames {result.moment_step:.1f} s apart)'


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
