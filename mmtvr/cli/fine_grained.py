"""``tools/data/fine_grained.py``: write a set of fine-grained captions."""

import json
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

from mmtvr.datasets.annotations import read_annotations
from mmtvr.datasets.fine_grained import make_fine_grained
from mmtvr.datasets.keywords import load_tagger
from mmtvr.files import write_atomically


def write_set(
    annotations: Path,
    output: Path,
    tagger: str = 'hanta',
    per_kind: int = 500,
    seed: int = 0,
    sheet: int = 0,
) -> None:
    """Write the set of an annotation file, and print a sheet of it.

    Args:
        annotations: An annotation file.
        output: The JSON file to write.
        tagger: See :func:`mmtvr.datasets.keywords.load_tagger`.
        per_kind: Largest number of records of a kind.
        seed: Of all draws.
        sheet: About how many records to print.
    """
    records = read_annotations(annotations)
    content = make_fine_grained(records, load_tagger(tagger), per_kind, seed)
    output.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(output, json.dumps(content, indent=0) + '\n')
    for name in ('twins', 'partial'):
        counts = Counter(record['kind'] for record in content[name])
        found = ', '.join(f'{n} {kind}' for kind, n in sorted(counts.items()))
        print(f'{name}: {found or "none"}')
    if sheet:
        print('\n'.join(draw_sheet(content, sheet, seed)))


def draw_sheet(content: dict, count: int, seed: int = 0) -> list[str]:
    """Lines of about ``count`` records, as many of each kind."""
    by_kind = defaultdict(list)
    for name, key in (('twins', 'twin'), ('partial', 'partial')):
        for record in content[name]:
            texts = (
                content['texts'][record['text']],
                content['texts'][record[key]],
            )
            by_kind[name, record['kind']].append(texts)
    rng = np.random.default_rng(seed)
    lines = []
    for (name, kind), pairs in by_kind.items():
        share = -(-count // len(by_kind))
        for number in sorted(rng.permutation(len(pairs))[:share].tolist()):
            text, other = pairs[number]
            lines.append(f'{name}/{kind}\n  {text}\n  {other}')
    return lines
