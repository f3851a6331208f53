"""Results as files: a table, a run of TREC, clips of their best moments."""

import csv
import os
import re
from collections.abc import Sequence
from pathlib import Path

from mmtvr.errors import SetupError
from mmtvr.files import atomic_path
from mmtvr.search.query import SearchResult
from mmtvr.video import UnreadableVideoError
from mmtvr.video.cutting import cut_clip

COLUMNS = (
    *('query', 'rank', 'score', 'path', 'time', 'start', 'end', 'matched'),
    'snippet',
)
# What a spreadsheet would take for a formula (OWASP, CSV injection).
FORMULA = ('=', '+', '-', '@', '\t', '\r')
LEAD = 1 / 3
NAME_LENGTH = 60

Found = Sequence[Sequence[SearchResult]]


def write_csv(
    path: str | os.PathLike[str], queries: Sequence[str], found: Found
) -> int:
    """Write results as a table, the columns of the videos behind the others.

    A text that a spreadsheet would compute gets an apostrophe before it.

    Args:
        path: The table.
        queries: What was asked.
        found: The results of each.

    Returns:
        The number of rows, without the header.
    """
    names = {
        name: None
        for results in found
        for each in results
        for name in each.fields
        if name not in COLUMNS
    }
    rows = 0
    with (
        atomic_path(path) as partial,
        open(partial, 'w', newline='', encoding='utf-8') as file,
    ):
        writer = csv.writer(file)
        writer.writerow([*COLUMNS, *names])
        for query, results in zip(queries, found, strict=True):
            for each in results:
                fields = dict(each.to_dict(), query=query)
                fields['matched'] = ' '.join(each.matched)
                values = [fields[name] for name in COLUMNS]
                values += [each.fields.get(name) for name in names]
                writer.writerow([_cell(value) for value in values])
                rows += 1
    return rows


def _cell(value: object) -> object:
    if not isinstance(value, str):
        return value
    value = value.encode('utf-8', 'backslashreplace').decode()
    return f"'{value}" if value.startswith(FORMULA) else value


def write_run(
    path: str | os.PathLike[str], names: Sequence[str], found: Found
) -> int:
    """Write results as a run of TREC, documents by the keys of their files.

    Scores fall with the rank, as those of a merged ranking do not.

    Args:
        path: The run.
        names: Of the queries; spaces in them become ``_``.
        found: The results of each.

    Returns:
        The number of lines.
    """
    lines = [
        f'{"_".join(name.split())} Q0 {each.key} {each.rank} '
        f'{1 / each.rank:.6f} mmtvr'
        for name, results in zip(names, found, strict=True)
        for each in results
    ]
    with atomic_path(path) as partial:
        partial.write_text('\n'.join([*lines, '']), 'utf-8')
    return len(lines)


def cut_clips(
    folder: str | os.PathLike[str],
    results: Sequence[SearchResult],
    seconds: float,
) -> tuple[list[Path], dict[str, str]]:
    """Copy some seconds around the best moment of each result.

    Args:
        folder: Where the clips go; made if need be.
        results: The results.
        seconds: How long a clip is; a third of it lies before the moment.

    Returns:
        The clips, and why there is none of some paths.

    Raises:
        SetupError: They are to last no time, or to go into a file.
    """
    if not seconds > 0:
        raise SetupError(f'clips must be longer than 0 s, got {seconds:g}')
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise SetupError(
            f'clips go into a folder, and {os.fspath(folder)} is a file: give '
            'another path'
        )
    made, failed = [], {}
    for number, each in enumerate(results, 1):
        moment = each.time if each.time is not None else each.start or 0.0
        start = max(each.start or 0.0, moment - LEAD * seconds)
        stem, ending = os.path.splitext(os.path.basename(each.path))
        stem = re.sub(r'[^\w.-]+', '_', stem)[:NAME_LENGTH]
        name = f'{number:03d}_{stem}_{start:.1f}s{ending}'
        try:
            made.append(
                cut_clip(each.path, Path(folder, name), start, start + seconds)
            )
        except (UnreadableVideoError, OSError) as error:
            failed[each.path] = str(error)
    return made, failed
