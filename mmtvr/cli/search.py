"""``mmtvr search``: search an index by text or by video."""

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from shutil import get_terminal_size
from textwrap import wrap
from types import MappingProxyType, SimpleNamespace
from typing import TYPE_CHECKING, Any

from mmtvr.cli.command import (
    add_index,
    at_least,
    check_checkpoint,
    note_after_a_while,
    parse_with_files,
)
from mmtvr.errors import SetupError

if TYPE_CHECKING:
    from mmtvr.apis import TextVideoSearcher
    from mmtvr.datasets.transforms.text import TextReading
    from mmtvr.search.query import SearchResult

TOKEN = 'MMTVR_TOKEN'
# Queries of a file that are searched before the first answers are printed.
AT_ONCE = 64
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
  mmtvr search INDEX "at night" --image beach.jpg --not "people"
  mmtvr search INDEX --queries texts.txt --csv hits.csv --clips hits/
  mmtvr search INDEX "a dog" --moments           # from when to when
  mmtvr search INDEX "a dog" --json | python -m json.tool
  mmtvr search INDEX "a dog" --where "duration < 60 and folder like 'home%'"
  mmtvr search INDEX "a dog" --page 2
  mmtvr search --server http://127.0.0.1:8000 "a dog"   # of `mmtvr serve`
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
        '--server',
        metavar='URL',
        help='ask a running `mmtvr serve` (http://HOST:PORT) and load no '
        'model; there is no INDEX then, only texts. The environment variable '
        'MMTVR_TOKEN holds the token of one that asks for it',
    )
    parser.add_argument(
        '--video',
        '--image',
        metavar='FILE',
        help='find videos that are similar to this video or image; with a '
        'text, what fits both',
    )
    parser.add_argument(
        '--start', type=float, help='first second of --video that counts'
    )
    parser.add_argument(
        '--end', type=float, help='last second of --video that counts'
    )
    parser.add_argument(
        '--not',
        dest='unlike',
        action='append',
        default=[],
        metavar='TEXT',
        help='what is not to be seen; may be given several times',
    )
    parser.add_argument(
        '--queries',
        metavar='FILE',
        help='many queries: one a line, or a .tsv with a name before each; '
        'prints one JSON object a line',
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
    candidates = parser.add_mutually_exclusive_group()
    candidates.add_argument(
        '--candidates',
        type=at_least(1),
        default=100,
        help='neighbours that the head compares exactly (default 100)',
    )
    candidates.add_argument(
        '--recall',
        type=float,
        metavar='R',
        help='compare as many candidates as contained the best video for this '
        'share of the captions given to `mmtvr index --calibrate`: 0.99',
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
        '--distinct',
        type=float,
        metavar='COSINE',
        help='leave out what looks nearly the same as a better result (0.98)',
    )
    parser.add_argument(
        '--csv', metavar='FILE', help='also write the results as a table'
    )
    parser.add_argument(
        '--clips',
        metavar='DIR',
        help='also copy some seconds around each best moment into a folder',
    )
    parser.add_argument(
        '--clip-seconds',
        type=float,
        default=6.0,
        metavar='S',
        help='how long these are (default: 6)',
    )
    parser.add_argument(
        '--run',
        metavar='FILE',
        help='also write the results as a run of TREC, for `mmtvr evaluate`',
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
    if args.queries and args.texts:
        parser.error('give texts or --queries FILE')
    if not (args.texts or args.video or args.vectors or args.queries):
        parser.error(
            'give texts, or --video FILE, --vectors FILE, --queries FILE'
        )
    if args.vectors and (args.texts or args.video or args.queries):
        parser.error('--vectors stands alone')
    if args.video and args.queries:
        parser.error('give --video FILE or --queries FILE')
    if (args.video or args.unlike) and len(args.texts) > 1:
        parser.error('give one text with --video or --not')
    if args.unlike and not (args.texts or args.video):
        parser.error('--not goes with a text or --video')
    if (args.start, args.end) != (None, None) and not args.video:
        parser.error('--start and --end go with --video')
    if args.moments and not args.texts:
        parser.error('--moments goes with texts')
    if args.moments and (args.video or args.unlike):
        parser.error('--moments goes with texts alone')
    texts_alone = not (args.video or args.unlike or args.vectors)
    if args.recall is not None and not 0 < args.recall <= 1:
        parser.error(f'--recall is above 0 and at most 1, not {args.recall}')
    for option in ('nnn', 'recall'):
        if getattr(args, option) and (args.server or not texts_alone):
            parser.error(f'--{option} goes with texts alone, without --server')
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
        if args.queries:
            _search_many(args)
            return
        queries, found, readings = _find(args, bool(info.get('imported')))
    _export(args, list(queries), list(queries), found)
    from mmtvr.search.calibration import fits

    if args.json:
        answers = [
            dict(
                query=query,
                **reading._asdict(),
                fits=fits(results, reading.is_unknown),
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
        # The best of a later page says nothing of the first.
        unfit = [
            None if args.offset or fits(results) else _most_probable(results)
            for results in found
        ]
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
    if args.min_score is not None:
        for answer in answers:
            answer['results'] = [
                each
                for each in answer['results']
                if each['score'] >= args.min_score
            ]
    if args.json:
        print(json.dumps(answers))
        return
    described = [_describe_answer(each, args.moments) for each in answers]
    print('\n\n'.join(described))


def _describe_answer(answer: dict[str, Any], with_moments: bool) -> str:
    """Put an answer of a server into lines, as those of an index."""
    results = [
        SimpleNamespace(
            **{
                'probability': None,  # Of an older server.
                **each,
                'path': each['name'],
                'start': None,
                'end': None,
                'copies': range(each['copies']),
                'words': [SimpleNamespace(**word) for word in each['words']],
                'moments': [
                    SimpleNamespace(**moment)
                    for moment in each['moments']
                    if with_moments
                ],
            }
        )
        for each in answer['results']
    ]
    unfit = None
    fits = answer.get('fits', True) or answer.get('offset')
    # Where no word is known the note says enough.
    if results and not (fits or answer.get('is_unknown')):
        unfit = _most_probable(results)
    return describe(
        answer['query'], results, answer.get('note', ''), unfit=unfit
    )


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
        found = [_from_score(each, args.min_score) for each in found]
        return queries, found, [TextReading()] * len(queries)
    if args.video and is_imported:
        found = apis.search_by_name(args.index, args.video, **options)
        found = _from_score(found, args.min_score)
        return [args.video], [found], [TextReading()]
    searcher = apis.open_searcher(args.index, args.checkpoint, args.device)
    options.update(
        candidates=_count_candidates(args, searcher),
        distinct=args.distinct,
        min_score=args.min_score,
    )
    if args.video or args.unlike:
        text = args.texts[0] if args.texts else None
        found = searcher.search(
            text,
            video=args.video,
            span=(args.start, args.end) if args.video else None,
            unlike=args.unlike,
            **options,
        )
        name = ' + '.join(filter(None, (text, args.video)))
        name += ''.join(f' - {each}' for each in args.unlike)
        reading = TextReading() if text is None else searcher.read_text(text)
        return [name], [found], [reading]
    found = searcher.search(
        args.texts,
        match=args.match,
        moments=args.moments,
        nnn=args.nnn,
        **options,
    )
    return args.texts, found, list(map(searcher.read_text, args.texts))


def _count_candidates(
    args: argparse.Namespace, searcher: 'TextVideoSearcher'
) -> int:
    if args.recall is None:
        return args.candidates
    return searcher.candidates_for(args.recall)


def _from_score(
    results: list['SearchResult'], least: float | None
) -> list['SearchResult']:
    return [each for each in results if least is None or each.score >= least]


def _search_many(args: argparse.Namespace) -> None:
    """Search by each query of a file, and say how fast that was."""
    from mmtvr import apis

    named = read_texts(args.queries)
    searcher = apis.open_searcher(args.index, args.checkpoint, args.device)
    names, texts = [name for name, _ in named], [text for _, text in named]
    candidates = _count_candidates(args, searcher)
    start = time.monotonic()
    found = []
    for first in range(0, len(texts), AT_ONCE):
        some = searcher.search(
            texts[first : first + AT_ONCE],
            args.top_k,
            candidates=candidates,
            where=args.where,
            offset=args.offset,
            match=args.match,
            distinct=args.distinct,
            min_score=args.min_score,
            nnn=args.nnn,
        )
        for number, results in enumerate(some, first):
            answer = dict(
                name=names[number],
                query=texts[number],
                results=[each.to_dict() for each in results],
            )
            print(json.dumps(answer), flush=True)
        found += some
    seconds = time.monotonic() - start
    print(
        f'{len(texts)} queries in {seconds:.1f} s, '
        f'{len(texts) / max(seconds, 1e-9):.1f} a second',
        file=sys.stderr,
    )
    _export(args, names, texts, found)


def read_texts(path: str) -> list[tuple[str, str]]:
    """Read queries and their names: numbers from 1, unless a .tsv has them.

    Raises:
        SetupError: The file cannot be read, holds none, or a name twice.
    """
    from mmtvr.datasets.input_files import read_lines

    named = []
    for number, line in enumerate(read_lines(Path(path)), 1):
        name, tab, text = line.partition('\t')
        if not (path.endswith('.tsv') and tab):
            name, text = str(number), line
        if text.strip():
            named.append((name.strip(), text.strip()))
    names = [name for name, _ in named]
    if not named or len(set(names)) < len(names):
        why = 'a name twice' if named else 'no query'
        raise SetupError(f'{path} holds {why}')
    return named


def _export(
    args: argparse.Namespace,
    names: Sequence[str],
    queries: Sequence[str],
    found: Sequence[Sequence['SearchResult']],
) -> None:
    """Write the files that were asked for, beside what is printed."""
    if not (args.csv or args.run or args.clips):
        return
    from mmtvr.search import exporting

    said = []
    if args.csv:
        count = exporting.write_csv(args.csv, queries, found)
        said.append(f'{count} rows in {args.csv}')
    if args.run:
        count = exporting.write_run(args.run, names, found)
        said.append(f'{count} lines in {args.run}')
    if args.clips:
        results = [each for some in found for each in some]
        made, failed = exporting.cut_clips(
            args.clips, results, args.clip_seconds
        )
        said.append(f'{len(made)} clips in {args.clips}')
        said += [f'no clip of {path!r}: {why}' for path, why in failed.items()]
    print('\n'.join(said), file=sys.stderr)


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
    unfit: float | None = None,
) -> str:
    """Put a query, what of it was not read, and its results into lines.

    Args:
        query: The query.
        results: Its results, the best first.
        note: What of it was not read.
        captions: Of some results, by path, start and end. The one that
            shares most words with the query is shown.
        unfit: The probability of the best where probably nothing fits.
    """
    # Those of a file, a path among them, are what others wrote.
    lines = [_one_line(query)]
    if note:
        lines.append(f'  note: {_one_line(note)}')
    width = get_terminal_size().columns - len(INDENT)
    if unfit is not None:
        lines.append(
            f'  probably nothing fits: the best shows it with a probability '
            f'of {unfit:.0%}; the nearest are'
        )
    for result in results:
        path = result.path.encode('utf-8', 'backslashreplace').decode()
        moment = '' if result.time is None else f'  at {result.time:.1f} s'
        lines.append(
            f'{result.rank:3d}  {result.score:6.3f}  {_percent(result)}'
            f'{_one_line(_shorten(path))}{moment}{_describe_files(result)}'
        )
        if 'text' in result.matched:
            time, text = result.snippet_time, _one_line(result.snippet)
            at = '' if time is None else f' at {time:.1f} s'
            lines.append(f'{INDENT}text{at}: {text}')
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
        lines.append('  nothing found')
    return '\n'.join(lines)


def _most_probable(results: Sequence['SearchResult']) -> float:
    return max(each.probability or 0.0 for each in results)


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
    step = getattr(result, 'moment_step', None)
    return f'from {spans}' + (
        '' if step is None else f'  (frames {step:.1f} s apart)'
    )


def _describe_files(result: 'SearchResult') -> str:
    """Its copies, and whether it is there."""
    notes, count = '', len(result.copies)
    if count:
        notes += f'  and {count} cop{"ies" if count > 1 else "y"}'
    near = getattr(result, 'near_copies', 0)
    if near:
        notes += f'  and {near} that look the same'
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
