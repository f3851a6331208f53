"""Your own data: a CSV or JSONL table of file and caption."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from mmtvr.datasets.annotations import VideoCaptions
from mmtvr.datasets.input_files import (
    check_span,
    expect,
    find_caption_fault,
    parse_json,
    read_text,
    split_lines,
    take_name,
    to_seconds,
)
from mmtvr.datasets.preparation.original_files import read_table
from mmtvr.errors import SetupError


def read_pairs(path: Path) -> list[VideoCaptions]:
    """Read rows of (file, caption) and optionally (start, end) in seconds.

    Rows of the same file and span become one video with several captions, in
    order of first appearance.

    Args:
        path: ``*.csv`` with a header, or ``*.jsonl`` with one object a line.

    Returns:
        The videos.

    Raises:
        SetupError: If the file is neither, holds no row, a row lacks ``file``
            or ``caption``, a caption has no word, or a span is none; the
            message names the row.
    """
    videos = defaultdict(list)
    for where, row in _read_rows(path):
        clip, caption = _read_row(where, row)
        videos[clip].append(caption)
    if not videos:
        raise SetupError(f'{path} holds no row')
    return [
        VideoCaptions(file, tuple(captions), start, end)
        for (file, start, end), captions in videos.items()
    ]


def _read_row(where: str, row: dict) -> tuple[tuple, str]:
    file, caption = row.get('file'), row.get('caption')
    if file in (None, '') or caption in (None, ''):
        raise SetupError(f'{where} has no file or no caption')
    fault = find_caption_fault(caption)
    if fault:
        raise SetupError(f'{where}: the caption is {fault}')
    start, end = (
        to_seconds(row.get(key), f'{key} of {where}')
        for key in ('start', 'end')
    )
    check_span(start, end, where)
    return (take_name(file, where), start, end), caption


def _read_rows(path: Path) -> Iterator[tuple[str, dict]]:
    kind = path.suffix.lower()
    if kind == '.csv':
        rows = read_table(path, 'file', 'caption')
        yield from ((f'{path}, row {i}', row) for i, row in enumerate(rows, 1))
    elif kind == '.jsonl':
        for number, line in enumerate(split_lines(read_text(path)), 1):
            if line.strip():
                where = f'{path}, line {number}'
                yield where, expect(parse_json(line, where), dict, where)
    else:
        raise SetupError(f'{path} must be a .csv or a .jsonl file')
