"""Captions of your own videos, out of the layouts that others write.

Tables (CSV in any delimiter, JSON, JSONL, Parquet), WebVid's CSV, the JSON of
MSR-VTT and mmaction2, shards of webdataset, folders of Hugging Face's
``datasets``, text files or subtitles beside videos. :func:`read_captions`
recognises which it is; each of them becomes rows of (file, caption).
"""

import csv
import io
import os
import re
import tarfile
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from mmtvr.datasets.annotations import VideoCaptions, find_path_escape
from mmtvr.datasets.input_files import (
    brief,
    check_span,
    decode_text,
    expect,
    find_caption_fault,
    find_name_fault,
    parse_json,
    read_json,
    split_lines,
    take,
    to_seconds,
)
from mmtvr.errors import SetupError, first_line, import_extra
from mmtvr.files import VIDEO_EXTENSIONS, atomic_path, find_video_files


class CaptionRow(NamedTuple):
    """One caption of one video.

    Attributes:
        where: File and place in it, for messages.
        file: The video as it is named there.
        caption: With a word in it.
        start: Where the clip begins inside the file, in seconds.
        end: Where it ends.
        split: ``train``, ``val``, ``test`` or another name; empty if there
            is none.
    """

    where: str
    file: str
    caption: str
    start: float | None = None
    end: float | None = None
    split: str = ''


class LeftOut(NamedTuple):
    """A row that cannot be used.

    Attributes:
        where: File and place in it.
        file: The video as it is named there.
        kind: What it is counted as, such as ``no caption``.
        reason: What is wrong, in words.
    """

    where: str
    file: str
    kind: str
    reason: str


@dataclass
class CaptionSource:
    """What was read.

    Attributes:
        format: Its name, a key of :data:`FORMATS`.
        rows: The captions, in order.
        left_out: Rows that cannot be used.
        notes: What was recognised, in words.
        guessed: Whether a column was recognised by its content alone.
        videos: Folder of the videos where the format says it.
    """

    format: str
    rows: list[CaptionRow] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    guessed: bool = False
    videos: Path | None = None

    def add(
        self,
        where: str,
        file: Any,
        captions: Any,
        split: Any = '',
        **span: Any,
    ) -> None:
        """Add what one place says of a video, or why it cannot be used.

        Args:
            where: File and place in it.
            file: Name of the video.
            captions: A caption or a list of them.
            split: Name of the split; those of the field get one spelling.
            **span: ``start`` and ``end`` as they are written.
        """
        file = '' if file is None else str(file).strip()
        fault = find_name_fault(file)
        if fault:
            self.left_out.append(LeftOut(where, file, 'no file', fault))
            return
        try:
            start, end = (
                _to_time(span.get(key), f'{key} of {where}')
                for key in ('start', 'end')
            )
            check_span(start, end, where)
        except SetupError as error:
            self.left_out.append(
                LeftOut(where, file, 'no valid span', str(error))
            )
            return
        split = '' if split is None else str(split).strip()
        for text in captions if isinstance(captions, list) else [captions]:
            fault = find_caption_fault(text)
            if text is None or not str(text).strip():
                fault = 'empty'
            if fault:
                reason = f'the caption is {fault}'
                self.left_out.append(
                    LeftOut(where, file, 'no caption', reason)
                )
                continue
            self.rows.append(
                CaptionRow(where, file, text, start, end, name_split(split))
            )


def group_by_video(
    rows: Iterable[CaptionRow],
) -> dict[str, list[VideoCaptions]]:
    """Make one record of all rows of a file and span.

    Args:
        rows: The captions.

    Returns:
        Split, ``''`` for none, to videos in order of first appearance.
    """
    splits: dict[str, dict[tuple, list[str]]] = {}
    for row in rows:
        videos = splits.setdefault(row.split, {})
        key = row.file, row.start, row.end
        videos.setdefault(key, []).append(row.caption)
    return {
        split: [
            VideoCaptions(file, tuple(captions), start, end)
            for (file, start, end), captions in videos.items()
        ]
        for split, videos in splits.items()
    }


SPLITS = {
    **dict.fromkeys(('train', 'training'), 'train'),
    **dict.fromkeys(('val', 'valid', 'validate', 'validation', 'dev'), 'val'),
    **dict.fromkeys(('test', 'testing', 'eval'), 'test'),
}


def name_split(name: str) -> str:
    """``train``, ``val`` or ``test`` for what others call them.

    Example:
        >>> name_split('Validation'), name_split('train_9k'), name_split('')
        ('val', 'train_9k', '')
    """
    return SPLITS.get(name.casefold(), name)


CLOCK = re.compile(r'(?:(\d+):)?(\d{1,2}):(\d{1,2}(?:[.,]\d+)?)')


def _to_time(value: Any, where: str) -> float | None:
    """Seconds of a number, ``1:02.5``, or a text with a decimal comma."""
    if isinstance(value, str):
        value = value.strip()
        clock = CLOCK.fullmatch(value)
        if clock:
            hours, minutes, seconds = clock.groups()
            value = 3600 * int(hours or 0) + 60 * int(minutes)
            return value + float(seconds.replace(',', '.'))
        value = value.replace(',', '.')
    return to_seconds(value, where)


class VideoNames:
    """Find the videos of a folder by what a file of others calls them.

    A name is that of a file if it is the end of its path or the other way
    round: a table may have names alone, paths below the folder, or paths of
    the machine where it was written. It may lack the ending, and have
    another case or another composition of letters (a Mac writes an umlaut as
    two characters).

    Args:
        folder: Folder of the videos.

    Raises:
        SetupError: There is no such folder, or no video in it.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise SetupError(
                f'there is no folder of videos {folder} (looked from '
                f'{Path.cwd()})'
            )
        self.folder = folder
        #: Folders in it that cannot be read, and why.
        self.closed: dict[str, str] = {}
        self.files = [
            Path(os.path.relpath(path, folder)).as_posix()
            for path in find_video_files(folder, self.closed)
        ]
        if not self.files:
            raise SetupError(
                f'{folder} holds no video: files count by their endings '
                '(.mp4, .mkv, ...)'
            )
        self._whole: dict[str, list[str]] = defaultdict(list)
        self._ends: dict[str, list[str]] = defaultdict(list)
        for file in self.files:
            for key in {_fold(file), _fold(_without_ending(file))}:
                self._whole[key].append(file)
                for end in _ends(key):
                    self._ends[end].append(file)

    def find(self, name: str) -> tuple[str | None, str]:
        """Find a video.

        Args:
            name: What it is called.

        Returns:
            Its path below the folder, or None and why.
        """
        key = _fold(name)
        found = self._ends.get(key)
        if not found:
            # The name is longer: a path of another machine.
            found = next(
                (self._whole[end] for end in _ends(key) if end in self._whole),
                [],
            )
        if len(found) > 1:
            # Two that differ in case alone, or in their endings.
            found = [file for file in found if file == name] or found
        if len(found) == 1:
            return found[0], ''
        if not found:
            return None, f'there is no such video in {self.folder}'
        return None, f'it may be any of {", ".join(found[:3])}'


def _fold(name: str) -> str:
    name = unicodedata.normalize('NFC', name.replace('\\', '/')).casefold()
    return name.removeprefix('./').lstrip('/')


def _without_ending(name: str) -> str:
    stem, ending = os.path.splitext(name)
    return stem if ending.lower() in VIDEO_EXTENSIONS else name


def _ends(key: str) -> Iterator[str]:
    """A path without none, one, two, ... of its first folders."""
    while True:
        yield key
        _, slash, key = key.partition('/')
        if not slash:
            return


# --- Tables ---

# Names of columns, without case, the more telling first.
COLUMNS = {
    'file': (
        *('file', 'file_name', 'filename', 'video_file', 'video_path'),
        *('video', 'video_name', 'path', 'filepath', 'file_path', 'clip'),
        *('video_id', 'videoid', 'clip_id', 'vid', 'id'),
        *('datei', 'dateiname'),
    ),
    'caption': (
        *('caption', 'captions', 'text', 'sentence', 'description', 'desc'),
        *('encap', 'query', 'prompt', 'title'),
        *('beschreibung', 'titel'),
    ),
    'start': ('start', 'start_time', 'start_sec', 'begin', 'von'),
    'end': ('end', 'end_time', 'end_sec', 'stop', 'bis'),
    'split': ('split', 'subset', 'partition'),
}
WEBVID = {'videoid', 'name', 'page_dir'}
DELIMITERS = {',': 'commas', ';': 'semicolons', '\t': 'tabs', '|': '|'}
# Rows that are looked at to recognise delimiter and columns.
LOOKED_AT = 200


class Table(NamedTuple):
    """Cells of a table.

    Attributes:
        header: Names of the columns.
        rows: Place and cells by column of each row.
        left_out: Rows that have not as many cells as the header.
        notes: What was recognised, in words.
    """

    header: list[str]
    rows: list[tuple[str, Mapping[str, Any]]]
    left_out: list[LeftOut]
    notes: list[str]


def read_csv(
    path: Path, names: VideoNames | None, encoding: str | None
) -> Table:
    """Read a CSV file in any delimiter, with or without a header.

    Args:
        path: The file.
        names: The videos; a first row that names one is no header.
        encoding: See :func:`decode_text`.

    Raises:
        SetupError: It cannot be read, or holds no table.
    """
    text, notes = decode_text(path, encoding)
    skipped = 0
    excel = re.match(r'sep=(.)\r?\n', text)
    if excel:
        # A line that Excel writes and reads, and nobody else.
        text, skipped, delimiter = text[excel.end() :], 1, excel[1]
    else:
        delimiter = _find_delimiter(path, text)
    if delimiter != ',':
        notes.append(f'separated by {DELIMITERS.get(delimiter, delimiter)}')
    lines: list[tuple[int, list[str]]] = []
    try:
        reader = csv.reader(
            io.StringIO(text, newline=''), delimiter=delimiter, strict=True
        )
        lines.extend(
            (reader.line_num + skipped, row) for row in reader if any(row)
        )
    except csv.Error as error:
        last = lines[-1][0] if lines else 0
        raise SetupError(
            f'{path} is no CSV after line {last}: {error}'
        ) from error
    if not lines:
        raise SetupError(f'{path} holds no row')
    header = [cell.strip() for cell in lines[0][1]]
    known = {name for named in COLUMNS.values() for name in named}
    if known.isdisjoint(map(_normalize, header)) and any(
        _is_video(cell, names) for cell in header
    ):
        header = [f'column {number + 1}' for number in range(len(header))]
        notes.append('without a header')
    else:
        del lines[0]
    twice = [name for name in header if name and header.count(name) > 1]
    if twice:
        raise SetupError(f'{path} has the column {twice[0]} twice')
    rows, left_out = [], []
    for number, row in lines:
        where = f'{path}, line {number}'
        if len(row) == len(header):
            rows.append((where, dict(zip(header, row, strict=True))))
        else:
            reason = (
                f'not as many fields as the header: {len(row)}, not '
                f'{len(header)}; a caption with a delimiter in it needs quotes'
            )
            left_out.append(LeftOut(where, row[0], 'broken row', reason))
    return Table(header, rows, left_out, notes)


def _is_video(cell: str, names: VideoNames | None) -> bool:
    ending = os.path.splitext(cell)[1].lower()
    return ending in VIDEO_EXTENSIONS or bool(
        names is not None and cell and names.find(cell)[0]
    )


def _find_delimiter(path: Path, text: str) -> str:
    """The one that divides most rows as it divides the first.

    csv.Sniffer takes letters for delimiters.
    """
    best, most = ',', (0.0, 0)
    start = '\n'.join(text.split('\n')[:LOOKED_AT])
    for delimiter in DELIMITERS:
        rows = []
        try:
            reader = csv.reader(
                io.StringIO(start, newline=''), delimiter=delimiter
            )
            rows = [row for row in reader if any(row)]
        except csv.Error:
            continue
        if not rows or len(rows[0]) < 2:
            continue
        width = len(rows[0])
        alike = sum(len(row) == width for row in rows) / len(rows)
        known = sum(
            _normalize(cell) in names
            for cell in rows[0]
            for names in COLUMNS.values()
        )
        if (known, alike) > most:
            best, most = delimiter, (known, alike)
    if most == (0.0, 0) and text.strip():
        raise SetupError(
            f'{path} has one column; expected a column of files and one of '
            f'captions, separated by {", ".join(DELIMITERS.values())}'
        )
    return best


def _normalize(name: str) -> str:
    return re.sub(r'[\s-]+', '_', name.strip().casefold())


def read_objects(path: Path, encoding: str | None) -> Table:
    """Read JSON with a list of objects, or JSONL.

    Raises:
        SetupError: It is neither.
    """
    text, notes = decode_text(path, encoding)
    if path.suffix.lower() == '.json':
        content = expect(
            parse_json(text, str(path)), list, f'the content of {path}'
        )
        rows = [
            (f'{path}, row {number}', row)
            for number, row in enumerate(content, 1)
        ]
    else:
        rows = [
            (where, parse_json(line, where))
            for number, line in enumerate(split_lines(text), 1)
            if line.strip()
            for where in [f'{path}, line {number}']
        ]
    for where, row in rows:
        expect(row, dict, where)
    header = list(dict.fromkeys(key for _, row in rows for key in row))
    return Table(header, rows, [], notes)


def read_table_rows(
    table: Table,
    path: Path,
    names: VideoNames | None,
    given: Mapping[str, str],
    known_format: str = 'table',
) -> CaptionSource:
    """Find the columns of a table and take its captions.

    Args:
        table: The cells.
        path: Where they come from, for messages.
        names: The videos.
        given: Role to column, what the user said; a number counts from 1.
        known_format: Name of the layout.

    Raises:
        SetupError: A column cannot be recognised; names the columns.
    """
    found = CaptionSource(known_format, notes=list(table.notes))
    found.left_out += table.left_out
    keys = {_normalize(name) for name in table.header}
    if (keys >= WEBVID and not given) or known_format == 'webvid':
        found.format = 'webvid'
        columns = dict(zip(table.header, table.header, strict=True))
        by_key = {_normalize(name): name for name in columns}
        missing = sorted(WEBVID - by_key.keys())
        if missing:
            raise SetupError(f'{path} has no column {", ".join(missing)}')
        for where, row in table.rows:
            folder, video, caption = (
                row.get(by_key[key]) for key in ('page_dir', 'videoid', 'name')
            )
            found.add(where, f'{folder}/{video}', caption)
        return found
    columns, found.guessed = choose_columns(table, path, names, given)
    named = ', '.join(f'{role} {name!r}' for role, name in columns.items())
    unused = [name for name in table.header if name not in columns.values()]
    found.notes.append(
        f'columns: {named}'
        + (f'; not used: {", ".join(map(repr, unused))}' if unused else '')
    )
    for where, row in table.rows:
        found.add(
            where,
            row.get(columns['file']),
            row.get(columns['caption']),
            *([row.get(columns['split'])] if 'split' in columns else []),
            **{
                key: row.get(columns[key])
                for key in ('start', 'end')
                if key in columns
            },
        )
    return found


def choose_columns(
    table: Table,
    path: Path,
    names: VideoNames | None,
    given: Mapping[str, str],
) -> tuple[dict[str, str], bool]:
    """Recognise the columns of a table, by name and by content.

    Args:
        table: The cells.
        path: For messages.
        names: The videos: the column that names most of them is that of the
            files.
        given: Role to column, what the user said.

    Returns:
        Role (file, caption, start, end, split) to column; and whether the
        name of the file or caption column says nothing.

    Raises:
        SetupError: A column is not there, or cannot be told from others.
    """
    header, rows = table.header, [row for _, row in table.rows[:LOOKED_AT]]
    by_key = {_normalize(name): name for name in reversed(header)}
    columns = {
        role: _find_column(name, header, path) for role, name in given.items()
    }
    for role, known in COLUMNS.items():
        named = [by_key[key] for key in known if key in by_key]
        named = [name for name in named if name not in columns.values()]
        if role not in columns and named:
            columns[role] = named[0]
    guessed = False
    if 'file' not in given and names is not None:
        hits = {
            name: sum(
                names.find(str(row.get(name) or '').strip())[0] is not None
                for row in rows
            )
            for name in header
        }
        best = max(header, key=lambda name: hits[name])
        if hits[best] > hits.get(columns.get('file', ''), 0):
            guessed = _normalize(best) not in COLUMNS['file']
            for role in [r for r, name in columns.items() if name == best]:
                del columns[role]
            columns['file'] = best
    if 'caption' not in columns:
        words = {
            name: sum(len(str(row.get(name) or '').split()) for row in rows)
            for name in header
            if name not in columns.values()
        }
        texts = [name for name in words if words[name] >= 2 * len(rows) > 0]
        if len(texts) == 1:
            columns['caption'], guessed = texts[0], True
    for role in ('file', 'caption'):
        if role not in columns:
            raise SetupError(
                f'{path}: which column holds the {role}s was not recognised; '
                f'its columns are {brief(header)}. Name it: --columns '
                f'{role}=NAME, or {role}=NUMBER, the first is 1'
            )
    return {role: columns[role] for role in COLUMNS if role in columns}, (
        guessed
    )


def _find_column(name: str, header: Sequence[str], path: Path) -> str:
    if name in header:
        return name
    alike = [each for each in header if _normalize(each) == _normalize(name)]
    if alike:
        return alike[0]
    if name.isdecimal() and 0 < int(name) <= len(header):
        return header[int(name) - 1]
    raise SetupError(f'{path} has no column {name!r}; it has {brief(header)}')


# --- Parquet and Arrow, in which Hugging Face keeps data sets ---


def _read_arrow(
    files: Sequence[tuple[Path, str]],
    root: Path,
    into: Path,
    given: Mapping[str, str],
) -> CaptionSource:
    """Read Parquet or Arrow files, and unpack the videos that they hold.

    Args:
        files: Each file with the name of its split.
        root: Folder that they are in.
        into: Folder for the videos.
        given: Role to column.
    """
    arrow = import_extra('pyarrow', 'search', 'reading Parquet and Arrow')
    rows, header = [], []
    for path, split in files:
        place = path.relative_to(root).with_suffix('').as_posix()
        since = path.stat().st_mtime
        try:
            for number, row in enumerate(_iterate_arrow(path), 1):
                where = f'{path}, row {number}'
                cells = {
                    key: _unpack_cell(value, into, place, number, since)
                    for key, value in row.items()
                }
                if split:
                    cells.setdefault('split', split)
                rows.append((where, cells))
        except (arrow.ArrowException, OSError) as error:
            raise SetupError(f'{path} cannot be read: {error}') from error
        header += [key for key in (rows[-1][1] if rows else ()) if key]
    table = Table(list(dict.fromkeys(header)), rows, [], [])
    names = VideoNames(into) if into.is_dir() else None
    found = read_table_rows(table, files[0][0], names, given, 'huggingface')
    if names is not None:
        found.videos = into
    return found


def _iterate_arrow(path: Path) -> Iterator[dict[str, Any]]:
    import pyarrow as pa
    from pyarrow import parquet

    if path.suffix == '.parquet':
        with parquet.ParquetFile(path) as file:
            # Few rows: each may hold a video.
            for batch in file.iter_batches(batch_size=8):
                yield from batch.to_pylist()
        return
    with pa.memory_map(str(path)) as source:
        try:
            batches: Iterable = pa.ipc.open_stream(source)
        except pa.ArrowInvalid:
            reader = pa.ipc.open_file(source)
            batches = map(reader.get_batch, range(reader.num_record_batches))
        for batch in batches:
            for first in range(0, batch.num_rows, 8):
                yield from batch.slice(first, 8).to_pylist()


def _unpack_cell(
    value: Any, into: Path, place: str, number: int, since: float
) -> Any:
    """Write a video that a cell holds; its path takes its place.

    Args:
        value: The cell.
        into: Folder for the videos.
        place: Folder in it for those of this file.
        number: The row.
        since: When the file was changed.
    """
    content, name = value, ''
    if isinstance(value, dict) and {'bytes', 'path'} >= value.keys():
        content, name = value.get('bytes'), value.get('path') or ''
        if content is None:
            return name
    if not isinstance(content, bytes):
        return value
    name = PurePosixPath(name.replace('\\', '/')).name
    ending = os.path.splitext(name)[1].lower()
    if find_name_fault(name) or ending not in VIDEO_EXTENSIONS:
        name = 'video.mp4'
    # The number: names of several folders may be equal.
    file = f'{place}/{number:06}-{name}'
    _write_video(into / file, len(content), io.BytesIO(content), since)
    return file


def _write_video(path: Path, size: int, content: Any, since: float) -> None:
    """Write what an archive holds, unless that is there already.

    Args:
        path: The file.
        size: Its bytes.
        content: A binary file.
        since: When the archive was changed.
    """
    if path.is_file():
        there = path.stat()
        if there.st_size == size and there.st_mtime >= since:
            return
    with atomic_path(path) as partial, partial.open('wb') as file:
        while chunk := content.read(2**20):
            file.write(chunk)


# --- Readers of each format ---


class Request(NamedTuple):
    """What a reader gets.

    Attributes:
        path: File or folder with the captions.
        videos: Folder of the videos, or None.
        into: Folder for videos that are unpacked.
        columns: Role to column of a table, what the user said.
        encoding: Of the text files; None to find out.
        language: Of the subtitles, such as ``de``; None for any.
    """

    path: Path
    videos: Path | None
    into: Path
    columns: Mapping[str, str]
    encoding: str | None
    language: str | None

    @property
    def names(self) -> VideoNames | None:
        """The videos, if their folder is known."""
        return None if self.videos is None else VideoNames(self.videos)


ARROW = ('.parquet', '.arrow')


def _read_table(
    request: Request, known_format: str = 'table'
) -> CaptionSource:
    path = request.path
    kind = path.suffix.lower()
    if kind in ARROW:
        files = [(path, '')]
        return _read_arrow(files, path.parent, request.into, request.columns)
    names = request.names
    if kind in ('.json', '.jsonl', '.ndjson'):
        table = read_objects(path, request.encoding)
    else:
        table = read_csv(path, names, request.encoding)
    return read_table_rows(table, path, names, request.columns, known_format)


def _read_webvid(request: Request) -> CaptionSource:
    return _read_table(request, 'webvid')


def _read_msrvtt(request: Request) -> CaptionSource:
    """``{videos: [{video_id, split}], sentences: [{video_id, caption}]}``."""
    path, found = request.path, CaptionSource('msrvtt')
    content = expect(read_json(path), dict, f'the content of {path}')
    splits = {
        row.get('video_id'): row.get('split', '')
        for row in content.get('videos', ())
        if isinstance(row, dict)
    }
    for number, row in enumerate(take(content, 'sentences', list, str(path))):
        where = f'sentence {number} of {path}'
        video = take(row, 'video_id', str, where)
        # Its clips are cut: start and end are those of the original.
        found.add(where, video, row.get('caption'), splits.get(video, ''))
    return found


def _read_mmaction2(request: Request) -> CaptionSource:
    """``{file: [captions]}``, or the layout that mmtvr writes."""
    path, found = request.path, CaptionSource('mmaction2')
    content = expect(read_json(path), dict, f'the content of {path}')
    rows: Iterable[tuple[Any, Any]] = content.items()
    if isinstance(content.get('videos'), list):
        rows = [
            (row.get('file'), row) if isinstance(row, dict) else ('', {})
            for row in content['videos']
        ]
    for number, (file, entry) in enumerate(rows):
        record = entry if isinstance(entry, dict) else {'captions': entry}
        named = [record[c] for c in ('captions', 'enCap') if c in record]
        captions = named[0] if named else record.get('caption')
        span = {key: record.get(key) for key in ('start', 'end')}
        found.add(f'video {number} of {path}', file, captions, **span)
    return found


def _read_webdataset(request: Request) -> CaptionSource:
    """Shards: files of one key are a sample, its video and its caption."""
    found = CaptionSource('webdataset', videos=request.into)
    path = request.path
    shards = sorted(path.rglob('*.tar')) if path.is_dir() else [path]
    for shard in shards:
        split = ''
        if shard.parent != path and path.is_dir():
            split = shard.parent.name
        try:
            _read_shard(shard, split, request, found)
        except (tarfile.TarError, OSError, EOFError) as error:
            raise SetupError(f'{shard} cannot be read: {error}') from error
    found.notes.append(f'{len(shards):,} shards, unpacked to {request.into}')
    return found


def _read_shard(
    shard: Path, split: str, request: Request, found: CaptionSource
) -> None:
    captions: dict[str, Any] = {}
    files: dict[str, str] = {}
    root = request.path if request.path.is_dir() else shard.parent
    place = shard.relative_to(root).with_suffix('').as_posix()
    since = shard.stat().st_mtime
    with tarfile.open(shard) as archive:
        for member in archive:
            folder, _, name = member.name.rpartition('/')
            # The key ends at the first dot of the name.
            key, _, ending = name.partition('.')
            key = f'{folder}/{key}' if folder else key
            suffix = '.' + ending.rpartition('.')[2].lower()
            content = archive.extractfile(member)
            if content is None:
                continue
            if suffix in VIDEO_EXTENSIONS:
                file = f'{place}/{key}{suffix}'
                escape = find_path_escape(request.into, file)
                if escape or find_name_fault(file):
                    raise SetupError(
                        f'{member.name!r} of {shard} is no name of a video: '
                        f'{escape or find_name_fault(file)}'
                    )
                _write_video(request.into / file, member.size, content, since)
                files[key] = file
            elif suffix in ('.txt', '.caption', '.cap'):
                text = content.read()
                captions[key] = text.decode('utf-8', 'replace').strip()
            elif suffix == '.json':
                where = f'{member.name} of {shard}'
                text = content.read().decode('utf-8', 'replace')
                row = expect(parse_json(text, where), dict, where)
                named = [row[c] for c in COLUMNS['caption'] if row.get(c)]
                if named:
                    captions.setdefault(key, named[0])
    for key, file in files.items():
        found.add(f'{key} of {shard}', file, captions.get(key), split)
    for key in captions.keys() - files.keys():
        found.left_out.append(
            LeftOut(f'{key} of {shard}', key, 'no video', 'it has no video')
        )


METADATA = ('metadata.csv', 'metadata.jsonl', 'metadata.parquet')


def _read_huggingface(request: Request) -> CaptionSource:
    """A folder with ``metadata.*``, of ``save_to_disk``, or of Parquet."""
    folder = request.path
    metadata = [p for name in METADATA for p in sorted(folder.rglob(name))]
    if metadata:
        found = CaptionSource('huggingface', videos=folder)
        for path in metadata:
            below = path.parent.relative_to(folder).as_posix()
            part = _read_table(
                request._replace(path=path, videos=path.parent), 'huggingface'
            )
            prefix = '' if below == '.' else f'{below}/'
            split = prefix.partition('/')[0]
            split = split if split.casefold() in SPLITS else ''
            found.rows += [
                row._replace(
                    file=prefix + row.file,
                    split=row.split or name_split(split),
                )
                for row in part.rows
            ]
            found.left_out += part.left_out
            found.notes += part.notes
            found.guessed |= part.guessed
        found.notes = list(dict.fromkeys(found.notes))
        return found
    files = [
        (path, _split_of(path, folder))
        for path in sorted(folder.rglob('*'))
        if path.suffix in ARROW and not path.name.startswith('cache-')
    ]
    if not files:
        raise SetupError(
            f'{folder} holds neither {", ".join(METADATA)} nor .parquet or '
            '.arrow files'
        )
    found = _read_arrow(files, folder, request.into, request.columns)
    found.videos = found.videos or request.videos
    return found


def _split_of(path: Path, folder: Path) -> str:
    """From ``train/data-00000-of-00001.arrow`` or ``train-00000-of-...``."""
    names = [*path.relative_to(folder).parent.parts, path.stem.split('-')[0]]
    return next((name for name in names if name.casefold() in SPLITS), '')


def _read_txt(request: Request) -> CaptionSource:
    """One text file beside each video, of the same name; a caption a line."""
    folder = request.path
    found = CaptionSource('txt', videos=request.videos or folder)
    names = VideoNames(found.videos)
    encodings, without = set(), 0
    for file in names.files:
        path = Path(folder, file).with_suffix('.txt')
        if not path.is_file():
            without += 1
            continue
        text, notes = decode_text(path, request.encoding)
        encodings.update(notes)
        lines = [line for line in split_lines(text) if line.strip()]
        found.add(str(path), file, lines or None)
    found.notes += sorted(encodings)[:3]
    _note_videos_without(found, without, '.txt file')
    return found


SUBTITLES = ('.srt', '.vtt', '.ass', '.ssa')


def _read_subtitles(request: Request) -> CaptionSource:
    """Subtitles beside each video: each is the caption of its clip."""
    pysubs2 = import_extra('pysubs2', 'subtitles', 'reading subtitles')
    folder = request.path
    found = CaptionSource('subtitles', videos=request.videos or folder)
    names, without, several = VideoNames(found.videos), 0, 0
    beside = defaultdict(list)
    for path in sorted(folder.rglob('*')):
        if path.suffix.lower() in SUBTITLES:
            beside[path.parent].append(path)
    for file in names.files:
        stem = Path(file).stem
        paths = [
            path
            for path in beside[Path(folder, file).parent]
            if _is_subtitle_of(path.stem, stem, request.language)
        ]
        without += not paths
        several += len(paths) > 1
        for path in paths:
            try:
                text, notes = decode_text(path, request.encoding)
                events = pysubs2.SSAFile.from_string(text)
            except (SetupError, pysubs2.Pysubs2Error, ValueError) as error:
                found.left_out.append(
                    LeftOut(
                        *(str(path), file, 'unreadable subtitles'),
                        first_line(error),
                    )
                )
                continue
            found.notes += [note for note in notes if note not in found.notes]
            for number, event in enumerate(events, 1):
                if not event.is_comment:
                    found.add(
                        *(f'{path}, subtitle {number}', file),
                        ' '.join(event.plaintext.split()),
                        start=event.start / 1000,
                        end=event.end / 1000,
                    )
    if several:
        found.notes.append(
            f'{several:,} videos have several files of subtitles, all are '
            'read; --language de takes one (film.de.srt)'
        )
    _note_videos_without(found, without, 'subtitles')
    return found


def _is_subtitle_of(name: str, video: str, language: str | None) -> bool:
    """``film.srt`` and ``film.de.srt`` belong to ``film.mp4``."""
    stem, _, code = name.rpartition('.')
    if language is not None:
        return stem == video and code.casefold() == language.casefold()
    return video in (name, stem)


def _note_videos_without(found: CaptionSource, count: int, what: str) -> None:
    if count:
        found.notes.append(f'{count:,} videos have no {what}')


FORMATS: dict[str, tuple[Callable[[Request], CaptionSource], str]] = {
    'table': (_read_table, 'CSV, TSV, JSONL, JSON or Parquet with columns'),
    'webvid': (_read_webvid, 'CSV with videoid, name and page_dir'),
    'msrvtt': (_read_msrvtt, 'JSON with "sentences"'),
    'mmaction2': (_read_mmaction2, 'JSON {file: [captions]}, or of mmtvr'),
    'webdataset': (_read_webdataset, 'tar shards, one or a folder of them'),
    'huggingface': (
        _read_huggingface,
        'folder with metadata.csv or .jsonl, of save_to_disk, or of Parquet',
    ),
    'txt': (_read_txt, 'folder with a .txt beside each video'),
    'subtitles': (_read_subtitles, 'folder with .srt or .vtt beside videos'),
}


def recognize_format(path: Path) -> str:
    """Recognise the layout of captions by its content.

    Args:
        path: File or folder.

    Returns:
        A key of :data:`FORMATS`.

    Raises:
        SetupError: There is nothing, it is none of them, or it may be
            several.
    """
    if path.is_dir():
        found = _recognize_folder(path)
    elif not path.exists():
        raise SetupError(
            f'there is no file or folder {path} (looked from {Path.cwd()})'
        )
    elif path.suffix.lower() == '.json':
        content = read_json(path)
        if isinstance(content, list):
            found = ['table']
        else:
            content = expect(content, dict, f'the content of {path}')
            found = ['msrvtt' if 'sentences' in content else 'mmaction2']
    elif path.suffix.lower() == '.tar':
        found = ['webdataset']
    else:
        found = ['table']
    if len(found) == 1:
        return found[0]
    known = '; '.join(
        f'{name}: {about}' for name, (_, about) in FORMATS.items()
    )
    if found:
        raise SetupError(
            f'{path} may be {" or ".join(found)}: say which with --format'
        )
    raise SetupError(
        f'{path} holds no captions of a known format ({known}). A folder of '
        'videos without captions needs none: mmtvr index --encoder NAME '
        f'{path} --into INDEX'
    )


def _recognize_folder(folder: Path) -> list[str]:
    names = {
        path.name
        for path in folder.rglob('*')
        if not path.name.startswith('.')
    }
    endings = {PurePosixPath(name).suffix.lower() for name in names}
    if names & {*METADATA, 'dataset_info.json', 'dataset_dict.json'}:
        return ['huggingface']
    if '.tar' in endings:
        return ['webdataset']
    if '.parquet' in endings:
        return ['huggingface']
    stems = {
        PurePosixPath(name).stem
        for name in names
        if PurePosixPath(name).suffix.lower() in VIDEO_EXTENSIONS
    }
    texts = {
        PurePosixPath(name).stem for name in names if name.endswith('.txt')
    }
    found = []
    # A README.txt is no caption.
    if stems & texts:
        found.append('txt')
    if endings & set(SUBTITLES):
        found.append('subtitles')
    return found


def read_captions(
    path: Path,
    videos: Path | None = None,
    *,
    into: Path,
    format: str | None = None,
    columns: Mapping[str, str] | None = None,
    encoding: str | None = None,
    language: str | None = None,
) -> CaptionSource:
    """Read captions of any of :data:`FORMATS`.

    Args:
        path: File or folder.
        videos: Folder of the videos, by which columns are recognised.
        into: Folder for videos that the file itself holds.
        format: A key of :data:`FORMATS`; None to recognise it.
        columns: Role (file, caption, start, end, split) to column, a name or
            a number from 1, where a table is not understood.
        encoding: Of text files; None for UTF-8 and UTF-16, else Windows'
            cp1252.
        language: Of subtitles, as in ``film.de.srt``.

    Returns:
        The rows, and what was recognised and left out.

    Raises:
        SetupError: The source is missing, not recognised or damaged.
    """
    format = format or recognize_format(path)
    if not path.exists():
        raise SetupError(
            f'there is no file or folder {path} (looked from {Path.cwd()})'
        )
    reader, _ = FORMATS[format]
    found = reader(
        Request(path, videos, into, columns or {}, encoding, language)
    )
    found.videos = found.videos or videos
    return found
