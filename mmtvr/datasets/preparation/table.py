"""Your own data: a CSV or JSONL table of file and caption."""

import json
from collections import defaultdict
from pathlib import Path

from mmtvr.errors import SetupError

from .original_files import read_table
from .video_captions import VideoCaptions


def read_pairs(path: Path) -> list[VideoCaptions]:
    """Read rows of (file, caption) and optionally (start, end) in seconds.

    Rows of the same file and span become one video with several captions, in
    order of first appearance.

    Args:
        path: ``*.csv`` with a header, or ``*.jsonl`` with one object a line.

    Returns:
        The videos.

    Raises:
        SetupError: If a row lacks ``file`` or ``caption``, or a span is not a
            number; the message names the row.
    """
    videos = defaultdict(list)
    for where, row in _read_rows(path):
        if not row.get('file') or not row.get('caption'):
            raise SetupError(f'{where} has no file or no caption: {dict(row)}')
        start, end = (_seconds(row, key, where) for key in ('start', 'end'))
        videos[row['file'], start, end].append(row['caption'])
    return [
        VideoCaptions(file, tuple(captions), start, end)
        for (file, start, end), captions in videos.items()
    ]


def _read_rows(path: Path) -> list[tuple[str, dict]]:
    if path.suffix == '.csv':
        rows = read_table(path, 'file', 'caption')
        return [(f'{path}, row {i}', row) for i, row in enumerate(rows, 1)]
    rows = []
    lines = path.read_text(encoding='utf-8').splitlines()
    for number, line in enumerate(lines, 1):
        where = f'{path}, line {number}'
        if not line.strip():
            continue
        try:
            rows.append((where, json.loads(line)))
        except ValueError as error:
            raise SetupError(f'{where} is not JSON: {error}') from error
    return rows


def _seconds(row: dict, key: str, where: str) -> float | None:
    value = row.get(key)
    if value in (None, ''):
        return None
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise SetupError(
            f'{where}: {key} is {value!r}, expected seconds'
        ) from error
