"""DiDeMo (Hendricks et al., ICCV 2017): moments described in Flickr clips."""

import re
from collections import defaultdict
from pathlib import Path, PurePosixPath

from mmtvr.datasets.annotations import VideoCaptions
from mmtvr.datasets.input_files import expect, take, take_name
from mmtvr.datasets.preparation.original_files import (
    find,
    read_json,
    read_lines,
    read_table,
)

# The annotators saw at most the first half minute, cut in 5-second segments.
CLIP_END = 31.0


def read_splits(folder: Path) -> dict[str, list[VideoCaptions]]:
    """Read the splits of the retrieval lists.

    The lists are shorter than the annotation files: what is not listed is not
    part of the benchmark. Where ``{split}_data.json`` is absent the joined
    paragraphs of ``didemo_{split}_label.csv`` are taken.

    Args:
        folder: Folder with ``{train,val,test}_data.json`` (or the label
            CSV files) and, for the test of membership,
            ``{train,val,test}_list.txt``.

    Returns:
        Split name to its videos, each with its descriptions in file order and
        the span of 0 to 31 s that they were written for.

    Raises:
        SetupError: If a file is missing or not of its layout.
    """
    splits = {}
    for split in ('train', 'val', 'test'):
        listed = read_lines(find(folder, f'{split}_list.txt'))
        captions = _read_descriptions(folder, split)
        splits[split] = [
            VideoCaptions(
                take_name(name, f'{split}_list.txt in {folder}'),
                *(tuple(captions[name]), 0.0, CLIP_END),
            )
            for name in listed
            if captions.get(name)
        ]
    return splits


def _read_descriptions(folder: Path, split: str) -> dict[str, list[str]]:
    source = find(folder, f'{split}_data.json', f'didemo_{split}_label.csv')
    captions = defaultdict(list)
    if source.suffix == '.json':
        rows = expect(read_json(source), list, f'the content of {source}')
        for number, row in enumerate(rows):
            where = f'row {number} of {source}'
            video = take_name(take(row, 'video', str, where), where)
            captions[video].append(take(row, 'description', str, where))
    else:
        for row in read_table(source, 'video_path', 'text'):
            name = PurePosixPath(re.sub(r'\\', '/', row['video_path'])).name
            captions[name].append(row['text'])
    return dict(captions)
