"""Columns and texts of videos, beside what is seen in them.

Every file of an index has some columns: path, folder and so on. A table of
the user adds others. Texts are subtitles beside a file and some of the
columns.
"""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

from mmtvr.datasets.input_files import read_json, read_table
from mmtvr.errors import SetupError, import_extra
from mmtvr.search.filters import BOOLEAN, NUMBER, TEXT
from mmtvr.search.stores.base import (
    Cue,
    FileEntry,
    Metadata,
    Value,
    VideoStore,
)

#: Columns that every file has, and their types.
FACTS = dict(
    path=TEXT,
    folder=TEXT,
    name=TEXT,
    date=TEXT,
    duration=NUMBER,
    size=NUMBER,
)
#: Columns of a table that name the file; the first that is there counts.
FILE_COLUMNS = ('path', 'file', 'filename', 'video', 'video_id', 'id')
#: Columns of a table whose text is searched unless others are named.
TEXT_COLUMNS = (
    *('title', 'name', 'caption', 'captions', 'description'),
    *('tags', 'keywords', 'text', 'transcript', 'instructions'),
)
SUBTITLES = ('.srt', '.vtt')
MAX_SUBTITLE_BYTES = 2**24
COLUMN = re.compile('[a-z_][a-z0-9_]*')
BOOLEANS = {'true': True, 'false': False, 'yes': True, 'no': False}
ROWS_AT_ONCE = 5000
SNIPPET = 160
ENDING = re.compile('(ing|ed|es|s|e)$')


@dataclass(frozen=True)
class MetadataTable:
    """Columns of videos that a user gave.

    Attributes:
        path: The file; empty for no table.
        types: Of the columns, in their order.
        rows: What names a file, and its values.
        text_columns: Columns whose text is searched.
    """

    path: str = ''
    types: Mapping[str, str] = field(default_factory=dict)
    rows: Sequence[tuple[str, dict[str, Value]]] = ()
    text_columns: tuple[str, ...] = ()


class MetadataReport(NamedTuple):
    """How a table and an index fit each other.

    Attributes:
        matched: Files of the index that have a row of the table.
        without: Files of the index that have none.
        unknown: Rows that name no file of the index.
    """

    matched: int = 0
    without: int = 0
    unknown: tuple[str, ...] = ()


def read_metadata(
    path: str | os.PathLike[str], text_columns: Sequence[str] | None = None
) -> MetadataTable:
    """Read a table of columns of videos.

    Args:
        path: A ``.csv`` with a header, or a ``.json`` with a list of objects
            or an object of them by file. One of ``FILE_COLUMNS`` names the
            file: by its path, absolute or from the table's folder, by its
            path below the indexed folder, or by its name, with or without
            ending, where no other file of the index has that.
        text_columns: Columns whose text is searched; those of
            ``TEXT_COLUMNS`` if None. ``name`` is that of the file where the
            table has no such column.

    Raises:
        SetupError: It is no such table, names a file twice, or has no column
            of the text.
    """
    path = os.path.abspath(os.fspath(path))
    records = _read_records(Path(path))
    names = {name: None for record in records for name in record}
    column = next((c for c in FILE_COLUMNS if c in names), None)
    if column is None:
        raise SetupError(
            f'{path} has no column that names the file: call it one of '
            f'{", ".join(FILE_COLUMNS)}; it has {", ".join(names) or "none"}'
        )
    names.pop(column)
    renamed = {name: _column_name(name, path) for name in names}
    twice = [n for n, count in Counter(renamed.values()).items() if count > 1]
    if twice:
        raise SetupError(f'{path} has the column {twice[0]} twice')
    columns = {
        new: _convert([record.get(old) for record in records], old, path)
        for old, new in renamed.items()
    }
    files = [str(record.get(column) or '') for record in records]
    _refuse_unnamed(files, column, path)
    rows = [
        (file, {name: values[row] for name, (_, values) in columns.items()})
        for row, file in enumerate(files)
    ]
    types = {name: kind for name, (kind, _) in columns.items()}
    chosen = _choose_text(types, text_columns, path)
    return MetadataTable(path, types, rows, chosen)


def _read_records(path: Path) -> list[dict[str, Any]]:
    if path.suffix.lower() == '.csv':
        return [dict(row) for row in read_table(path)]
    if path.suffix.lower() != '.json':
        raise SetupError(f'{path} is neither a .csv nor a .json')
    content = read_json(path)
    if isinstance(content, dict):
        content = [
            {FILE_COLUMNS[0]: name, **each}
            for name, each in content.items()
            if isinstance(each, dict)
        ]
    if not isinstance(content, list) or not all(
        isinstance(each, dict) for each in content
    ):
        raise SetupError(
            f'{path} must be a list of objects, or an object of objects by '
            'file'
        )
    return content


def _column_name(name: str, path: str) -> str:
    column = re.sub(r'\W+', '_', name.strip().lower(), flags=re.ASCII)
    if not COLUMN.fullmatch(column):
        raise SetupError(
            f'{path} has a column {name!r}: begin its name with a letter'
        )
    return column


def _refuse_unnamed(files: Sequence[str], column: str, path: str) -> None:
    for number, file in enumerate(files, 1):
        if not file:
            raise SetupError(f'{path}, row {number} has no {column}')
    twice = [file for file, count in Counter(files).items() if count > 1]
    if twice:
        raise SetupError(f'{path} names the file {twice[0]!r} twice')


def _choose_text(
    types: Mapping[str, str], asked: Sequence[str] | None, path: str
) -> tuple[str, ...]:
    if asked is None:
        return tuple(c for c in TEXT_COLUMNS if types.get(c) == TEXT)
    for name in asked:
        if types.get(name, FACTS.get(name)) != TEXT:
            known = ', '.join(n for n, kind in types.items() if kind == TEXT)
            raise SetupError(
                f'{path} has no text in a column {name!r}; it has text in '
                f'{known or "none"}, and each file has name and folder'
            )
    return tuple(asked)


def _convert(
    values: Sequence[Any], name: str, path: str
) -> tuple[str, list[Value]]:
    """The type of a column, and its values in it."""
    plain = [_plain(value, name, path) for value in values]
    there = [value for value in plain if value is not None]
    if there and all(isinstance(value, bool) for value in there):
        return BOOLEAN, plain
    texts = [str(value) for value in there if not isinstance(value, bool)]
    if len(texts) == len(there) and there:
        if all(text.strip().lower() in BOOLEANS for text in texts):
            return BOOLEAN, [
                None if v is None else BOOLEANS[str(v).strip().lower()]
                for v in plain
            ]
        if all(_is_number(text) for text in texts):
            return NUMBER, [None if v is None else float(v) for v in plain]
    return TEXT, [None if v is None else str(v) for v in plain]


def _plain(value: Any, name: str, path: str) -> Value:
    if isinstance(value, list) and all(
        isinstance(each, str | int | float) for each in value
    ):
        return ', '.join(map(str, value)) or None
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return value.strip() or None
    raise SetupError(
        f'{path}: the column {name!r} holds {str(value)[:80]!r}; expected '
        'texts, numbers, truth values, or lists of texts'
    )


def _is_number(text: str) -> bool:
    # Not what Python reads besides: 1_000, nan, infinity.
    return bool(
        re.fullmatch(r'\s*[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?\s*', text)
    )


class Subtitles:
    """Finds and reads the subtitles beside files, each folder once.

    Those of ``clip.mp4`` are ``clip.srt``, ``clip.vtt``, and any with a
    language between, such as ``clip.en.srt``.
    """

    def __init__(self) -> None:
        self._folders: dict[str, dict[str, list[str]]] = {}
        #: Files that could not be read, and why.
        self.unreadable: dict[str, str] = {}

    def find(self, path: str) -> list[str]:
        """Paths of the subtitles of a video, sorted."""
        folder, name = os.path.split(path)
        if folder not in self._folders:
            found = defaultdict(list)
            for each in _list_folder(folder):
                stem, ending = os.path.splitext(each)
                if ending.lower() in SUBTITLES:
                    found[stem].append(each)
                    found[os.path.splitext(stem)[0]].append(each)
            self._folders[folder] = found
        stem = os.path.splitext(name)[0]
        names = dict.fromkeys(sorted(self._folders[folder].get(stem, ())))
        return [os.path.join(folder, each) for each in names]

    def describe(self, paths: Sequence[str]) -> str:
        """Which files they are, and whether they have changed since."""
        parts = []
        for path in paths:
            try:
                status = os.stat(path)
            except OSError:
                continue
            name = os.path.basename(path)
            parts.append(f'{name} {status.st_size} {status.st_mtime_ns}')
        return '; '.join(parts)

    def read(self, paths: Sequence[str]) -> tuple[Cue, ...]:
        """What is said in them, in order."""
        pysubs2 = import_extra('pysubs2', 'search', 'the text of subtitles')
        cues: list[Cue] = []
        for path in paths:
            try:
                if os.path.getsize(path) > MAX_SUBTITLE_BYTES:
                    raise OSError(f'it has more than {MAX_SUBTITLE_BYTES} B')
                text = Path(path).read_bytes().decode('utf-8-sig', 'replace')
                cues += [
                    Cue(each.start / 1000, each.end / 1000, said)
                    for each in pysubs2.SSAFile.from_string(text)
                    if (said := ' '.join(each.plaintext.split()))
                ]
            except (OSError, ValueError, pysubs2.Pysubs2Error) as error:
                self.unreadable[path] = str(error) or type(error).__name__
        return tuple(sorted(cues))


def _list_folder(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def describe_entry(entry: FileEntry) -> dict[str, Value]:
    """The columns that every file has."""
    path = os.fsencode(entry.path).decode('utf-8', 'replace')
    folder = os.path.dirname(path)
    if os.path.isdir(entry.source):
        folder = os.path.relpath(folder, entry.source)
    modified = entry.changed[0] // 10**9
    date = datetime.fromtimestamp(modified, timezone.utc)
    return dict(
        path=path,
        folder='' if folder == '.' else folder,
        name=Path(path).stem,
        date=date.strftime('%Y-%m-%dT%H:%M:%S') if modified else None,
        duration=entry.duration,
        size=float(entry.size),
    )


class MetadataWriter:
    """Keeps the metadata of an index in step with its files.

    What is as it was is not written again. Columns that a table gave earlier
    stay where none is given now, also for a file that has moved.

    Args:
        store: The index.
        table: Columns of the user.
    """

    def __init__(
        self, store: VideoStore, table: MetadataTable | None = None
    ) -> None:
        self.store = store
        self.table = table or MetadataTable()
        self.subtitles = Subtitles()
        self._moved: dict[str, Metadata] = {}

    def begin(self) -> None:
        """Add columns that the index does not have.

        Raises:
            SetupError: A column has another type, or a name that the engine
                does not take.
        """
        self.store.add_columns({**FACTS, **self.table.types})

    def update(
        self, entries: Sequence[FileEntry], files: 'FileNames | None' = None
    ) -> None:
        """Write what is new of some files that could be read.

        Args:
            entries: The files.
            files: Names of all files, to find the rows of the table by; the
                table is left alone if None.
        """
        readable = [each for each in entries if each.error is None]
        for first in range(0, len(readable), ROWS_AT_ONCE):
            some = readable[first : first + ROWS_AT_ONCE]
            before = self.store.find_metadata([each.key for each in some])
            rows = [
                self._describe(each, before.get(each.key), files)
                for each in some
            ]
            self.store.put_metadata(
                [row for row in rows if row != before.get(row.key)]
            )

    def finish(
        self, entries: Sequence[FileEntry], gone: Sequence[FileEntry] = ()
    ) -> MetadataReport:
        """Bring all files into step.

        Args:
            entries: All files of the index.
            gone: Those that will leave it, and may have moved.
        """
        for row in self.store.find_metadata([e.key for e in gone]).values():
            if row.given or row.text:
                self._moved[row.content] = row
        leaving = {each.key for each in gone}
        staying = [
            each
            for each in entries
            if each.error is None and each.key not in leaving
        ]
        files = FileNames(staying)
        self.update(staying, files)
        if not self.table.path:
            return MetadataReport()
        found = files.match(self.table)
        named = {name for names in found.values() for name in names}
        return MetadataReport(
            matched=len(found),
            without=len(staying) - len(found),
            unknown=tuple(n for n, _ in self.table.rows if n not in named),
        )

    def _describe(
        self,
        entry: FileEntry,
        before: Metadata | None,
        files: 'FileNames | None',
    ) -> Metadata:
        facts = describe_entry(entry)
        given, text = (
            ({}, '') if before is None else (before.given, before.text)
        )
        if not given and not text and entry.content in self._moved:
            moved = self._moved[entry.content]
            given, text = moved.given, moved.text
        rows = files.match(self.table).get(entry.key) if files else None
        if rows:
            new = {k: v for row in rows.values() for k, v in row.items()}
            given = {**given, **new}
            columns = {**facts, **given}
            texts = [columns.get(each) for each in self.table.text_columns]
            text = '\n'.join(str(each) for each in texts if each)
        row = Metadata(entry.key, entry.content, facts, given, text)
        if before is not None and not os.path.lexists(entry.path):
            # As of an index that came from another machine.
            return replace(before, given=given, text=text)
        paths = self.subtitles.find(entry.path)
        stamp = self.subtitles.describe(paths)
        if before is not None and before.subtitles == stamp:
            return replace(row, cues=before.cues, subtitles=stamp)
        cues = self.subtitles.read(paths) if paths else ()
        low, high = entry.start or 0.0, entry.end or float('inf')
        cues = tuple(each for each in cues if each[1] > low and each[0] < high)
        return replace(row, cues=cues, subtitles=stamp)


class FileNames:
    """Finds the files of an index that the rows of a table name.

    Args:
        entries: The files.
    """

    def __init__(self, entries: Sequence[FileEntry]) -> None:
        self._paths: dict[str, list[FileEntry]] = defaultdict(list)
        self._below: dict[str, set[str]] = defaultdict(set)
        self._found: dict[str, dict[str, dict[str, Value]]] | None = None
        for entry in entries:
            self._paths[entry.path].append(entry)
        for path, (entry, *_) in self._paths.items():
            name = os.path.basename(path)
            names = {name, os.path.splitext(name)[0]}
            if os.path.isdir(entry.source):
                names.add(os.path.relpath(path, entry.source))
            for each in names:
                self._below[each].add(path)

    def match(
        self, table: MetadataTable
    ) -> dict[str, dict[str, dict[str, Value]]]:
        """Rows by the name in the table, by the key of a file.

        Raises:
            SetupError: A name may mean several files.
        """
        if self._found is None:
            self._found = defaultdict(dict)
            for name, row in table.rows:
                for entry in self._find(name, table):
                    self._found[entry.key][name] = row
        return self._found

    def _find(self, name: str, table: MetadataTable) -> list[FileEntry]:
        path = os.path.join(os.path.dirname(table.path), name)
        path = os.path.normpath(path)
        if path in self._paths:
            return self._paths[path]
        if name in self._paths:
            return self._paths[name]
        paths = self._below.get(os.path.normpath(name), set())
        if len(paths) > 1:
            first, second, *_ = sorted(paths)
            raise SetupError(
                f'{table.path} names {name!r}, which may be {first} or '
                f'{second}: give its path'
            )
        return [entry for each in paths for entry in self._paths[each]]


def find_snippet(row: Metadata, text: str) -> tuple[str, float | None]:
    """What of the texts of a video has most words of a query.

    Returns:
        The line or the subtitle, shortened, and the second at which the
        subtitle begins; empty where no word is found again, as it was found
        by its stem.
    """
    words = set(re.findall(r'\w+', text.casefold()))
    lines = [(line, None) for line in row.text.splitlines()]
    lines += [(cue.text, cue.start) for cue in row.cues]
    best, time, most = '', None, 0
    for line, start in lines:
        there = re.finditer(r'\w+', line.casefold())
        hits = [m.start() for m in there if _is_alike(m.group(), words)]
        if len(hits) > most:
            most, time = len(hits), start
            first = max(0, hits[0] - SNIPPET // 4)
            best = line[first : first + SNIPPET]
            best = ('… ' if first else '') + best.strip()
            best += ' …' if first + SNIPPET < len(line) else ''
    return best, time


def _is_alike(word: str, words: Iterable[str]) -> bool:
    """Whether it is one of some words up to its ending."""
    stem = ENDING.sub('', word)
    for each in words:
        short, long = sorted((stem, ENDING.sub('', each)), key=len)
        if word == each or (len(short) > 2 and long.startswith(short)):
            return True
    return False
