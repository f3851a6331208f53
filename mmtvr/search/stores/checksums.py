"""Checksums of the files of an index in a folder.

LanceDB writes each file once, under a name of its own, and keeps no checksum
of it. A line for each, appended after the commit, shows later whether a file
is still what was written: ``crc32 size name crc32-of-the-line``.
"""

import os
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mmtvr.files import write_atomically

NAME = '.checksums'
# While files are being replaced, one that is missing says nothing.
WHOLE, CHANGING = '# mmtvr checksums 1', '# mmtvr checksums 1, changing'
FOLDERS = ('data', '_versions', '_deletions', '_indices')
CHANGED_IN_PLACE = 'latest_version_hint.json'
CHUNK = 2**20
# Another process may be compacting: what is missing is looked for again.
TRIES, SECONDS_BETWEEN = 3, 0.2


class Record(NamedTuple):
    """What is known of a file when it was written."""

    crc: int
    size: int


class Checksums(NamedTuple):
    """The records of an index.

    Attributes:
        files: Records by the names of the files, relative to the index.
        is_whole: Whether a file that is missing is a fault.
        fault: What is wrong with the list itself; empty if nothing.
    """

    files: dict[str, Record]
    is_whole: bool
    fault: str = ''


def read_checksums(index: Path) -> Checksums | None:
    """Read the list of an index; None for one without, of an older mmtvr."""
    try:
        text = (index / NAME).read_text('ascii', 'replace')
    except FileNotFoundError:
        return None
    head, *lines = text.split('\n')
    # What a killed process wrote to half has no line feed; the file that it
    # was about has no record then.
    torn = lines.pop() if lines else head
    files = {}
    for number, line in enumerate(lines, 2):
        content, _, check = line.rpartition(' ')
        if not line:
            continue
        if check != f'{zlib.crc32(content.encode()):08x}':
            return Checksums({}, False, f'line {number} of {NAME}')
        crc, size, name = content.split(' ', 2)
        files[name] = Record(int(crc, 16), int(size))
    if head not in (WHOLE, CHANGING):
        return Checksums({}, False, f'line 1 of {NAME}')
    return Checksums(files, head == WHOLE and not torn)


def update_checksums(index: Path) -> None:
    """Record files that are new, and forget those that are gone."""
    known = read_checksums(index)
    files = {} if known is None else known.files
    there = dict(_list_files(index))
    added = {
        name: _record(path)
        for name, path in there.items()
        if name not in files
    }
    if known is None or not known.is_whole or files.keys() - there.keys():
        kept = {name: files[name] for name in files.keys() & there.keys()}
        _write(index, WHOLE, {**kept, **added})
    elif added:
        with open(index / NAME, 'ab') as file:
            file.write(_to_lines(added))


def begin_change(index: Path) -> None:
    """Say that files will be replaced, until :func:`update_checksums`."""
    known = read_checksums(index)
    if known is not None:
        _write(index, CHANGING, known.files)


def find_damage(index: Path, max_bytes: int | None = None) -> list[str]:
    """Compare the files of an index with what was written.

    Args:
        index: The folder.
        max_bytes: How much to read, small files first; None for all. Sizes
            are compared in any case.

    Returns:
        What is wrong, each with the name of the file; empty for an index
        without checksums.
    """
    for attempt in range(TRIES):
        if attempt:
            time.sleep(SECONDS_BETWEEN)
        known = read_checksums(index)
        if known is None:
            return []
        found = list(_compare(index, known, max_bytes))
        if not found:
            return []
    return found


def count_unrecorded(index: Path) -> int:
    """Number of files that have no checksum."""
    known = read_checksums(index)
    names = {name for name, _ in _list_files(index)}
    return len(names - (known.files.keys() if known else set()))


def _compare(
    index: Path, known: Checksums, max_bytes: int | None
) -> Iterator[str]:
    if known.fault:
        yield known.fault
    left = float('inf') if max_bytes is None else max_bytes
    for name, record in sorted(known.files.items(), key=lambda f: f[1].size):
        path = index / name
        try:
            size = path.stat().st_size
            if size != record.size:
                yield f'{name} has {size:,} bytes, not {record.size:,}'
            elif size <= left:
                left -= size
                if _record(path).crc != record.crc:
                    yield f'the content of {name} has changed'
        except FileNotFoundError:
            if known.is_whole:
                yield f'{name} is missing'
        except OSError as error:
            yield f'{name} cannot be read: {error.strerror}'


def _list_files(index: Path) -> Iterator[tuple[str, Path]]:
    for table in sorted(index.glob('*.lance')):
        for folder in FOLDERS:
            for top, _, names in os.walk(table / folder):
                for name in names:
                    # What is still being written has a # in its name.
                    if name != CHANGED_IN_PLACE and '#' not in name:
                        path = Path(top, name)
                        yield path.relative_to(index).as_posix(), path


def _record(path: Path) -> Record:
    crc = size = 0
    with open(path, 'rb', buffering=0) as file:
        while chunk := file.read(CHUNK):
            crc, size = zlib.crc32(chunk, crc), size + len(chunk)
    return Record(crc, size)


def _write(index: Path, head: str, files: dict[str, Record]) -> None:
    content = f'{head}\n'.encode() + _to_lines(files)
    write_atomically(index / NAME, content)


def _to_lines(files: dict[str, Record]) -> bytes:
    lines = (f'{crc:08x} {size} {name}' for name, (crc, size) in files.items())
    checked = (f'{line} {zlib.crc32(line.encode()):08x}\n' for line in lines)
    return ''.join(checked).encode()
