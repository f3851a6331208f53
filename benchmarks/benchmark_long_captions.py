"""Measure how the time of a caption grows with its length.

``python -m benchmarks.benchmark_long_captions`` sends captions of 1,250 to
10,000 words through reading, key words, word dropping and tokenization, and
prints the time per 1,000 words, the median of several rounds in turn. A step
that is linear has the same number in each column.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from mmtvr.datasets.annotations import read_annotations
from mmtvr.datasets.keywords import STOP_WORDS, find_keywords, load_tagger
from mmtvr.datasets.transforms import DropUnimportantWords, TokenizeText

CLIP = 'mmtvr://moving-shapes-clip'
PHRASES = (
    'a young man rides his red bicycle quickly along the old street.',
    'somebody shows, with both hands, how two small dogs play!',
    'the camera moves slowly over mountains and a green lake',
)


def write_caption(words: int) -> str:
    """Ordinary English with punctuation and, at the end, a rare long word."""
    cycle = ' '.join(PHRASES).split()
    chosen = [cycle[i % len(cycle)] for i in range(words - 1)]
    return ' '.join([*chosen, 'x' * 200])


def make_steps(folder: Path) -> dict[str, Callable[[str], object]]:
    """The steps that a caption goes through."""
    tagger, stop_words = load_tagger('hanta'), STOP_WORDS
    dropping = DropUnimportantWords()
    cut = TokenizeText(CLIP, max_words=24)
    split = TokenizeText(CLIP, max_words=24, long_text='sentences')

    def spans(caption: str) -> list:
        return next(find_keywords([caption], tagger, stop_words))

    def read(caption: str) -> object:
        path = folder / 'a.json'
        path.write_text(json.dumps({'a.mp4': [caption]}))
        return read_annotations(path)

    def drop(caption: str) -> object:
        # Every word a key word: the most that there is to shift.
        words = caption.split(' ')
        places, start = [], 0
        for word in words:
            places.append((start, start + len(word)))
            start += len(word) + 1
        return dropping.transform(dict(text=caption, keyword_spans=[places]))

    return {
        'read an annotation file': read,
        'tag key words': spans,
        'learn TF-IDF': lambda text: dropping.fit_captions([text], ''),
        'drop words, shift all key words': drop,
        'tokenize and cut': lambda text: cut.transform(dict(text=text)),
        'tokenize by sentences': lambda text: split.transform(dict(text=text)),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--most', type=int, default=10_000, help='words')
    args = parser.parse_args(arguments)
    lengths = [args.most >> shift for shift in (3, 2, 1, 0)]
    captions = {length: write_caption(length) for length in lengths}
    seconds = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        steps = make_steps(Path(folder))
        for step in steps.values():
            step(captions[lengths[0]])
        for _ in range(args.rounds):
            for name, step in steps.items():
                for length in lengths:
                    start = time.perf_counter()
                    step(captions[length])
                    taken = time.perf_counter() - start
                    seconds[name, length].append(taken / length * 1000)
    table = Table(box=SIMPLE, title='milliseconds per 1,000 words')
    table.add_column('step')
    for length in lengths:
        table.add_column(f'{length:,} words', justify='right')
    for name in steps:
        medians = (statistics.median(seconds[name, n]) for n in lengths)
        table.add_row(name, *(f'{1000 * value:.2f}' for value in medians))
    Console().print(table)


if __name__ == '__main__':
    main()
