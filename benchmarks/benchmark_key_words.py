"""How good and how fast a tagger of key words is.

``python -m benchmarks.benchmark_key_words train_9k.json`` tags each
distinct caption of an annotation file, as ``TagKeyWords`` does on the first
run, several times, and with ``--labels`` compares with key words that people
marked. Without a tagger, every word that is no stop word is key.
"""

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import median

from mmtvr.datasets.annotations import read_annotations
from mmtvr.datasets.keywords import (
    STOP_WORDS,
    Span,
    WordTagger,
    find_keywords,
    load_tagger,
)

NO_TAGGER = 'none'
WORD = re.compile(r'\S+')


def all_words(captions: Iterable[str]) -> Iterator[list[Span]]:
    """Take every word for a content word."""
    for caption in captions:
        yield [word.span() for word in WORD.finditer(caption)]


def measure_quality(tagger: WordTagger, labels: Sequence[dict]) -> float:
    """Share of words that are rightly key or rightly not."""
    captions = [label['caption'] for label in labels]
    found = find_keywords(captions, tagger, STOP_WORDS)
    right = total = 0
    for label, spans in zip(labels, found, strict=True):
        for place, word in enumerate(WORD.finditer(label['caption'])):
            is_key = any(i < word.end() and j > word.start() for i, j in spans)
            right += is_key == (place in label['key_words'])
            total += 1
    return 100 * right / total


def measure_seconds(tagger: WordTagger, captions: Sequence[str]) -> float:
    """Tag all captions once."""
    start = time.perf_counter()
    for _ in find_keywords(captions, tagger, STOP_WORDS):
        pass
    return time.perf_counter() - start


def main() -> None:
    """Print one line per tagger."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('annotations', type=Path, help='annotation file')
    parser.add_argument(
        '--taggers', nargs='+', default=['hanta', NO_TAGGER], metavar='TAGGER'
    )
    parser.add_argument('--labels', type=Path, help='hand-labelled captions')
    parser.add_argument('--repeat', type=int, default=3)
    args = parser.parse_args()
    records = read_annotations(args.annotations)
    every = [text for record in records for text in record.captions]
    captions = list(dict.fromkeys(every))
    print(
        f'{len(every):,} captions, {len(captions):,} distinct; '
        f'{os.cpu_count()} cores'
    )
    for name in args.taggers:
        tagger = all_words if name == NO_TAGGER else load_tagger(name)
        times = [measure_seconds(tagger, captions) for _ in range(args.repeat)]
        line = f'{name:8}  {median(times):7.1f} s, median of {len(times)}'
        if args.labels:
            content = json.loads(args.labels.read_text(encoding='utf-8'))
            quality = measure_quality(tagger, content['captions'])
            line += f'  {quality:.1f} % of the decisions right'
        print(line, flush=True)


if __name__ == '__main__':
    sys.exit(main())
