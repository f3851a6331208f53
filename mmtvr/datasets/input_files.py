"""Text, JSON and CSV files of unknown origin: bounded, checked, named."""

import codecs
import csv
import io
import json
import math
import os
import re
import stat
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from reprlib import Repr
from typing import Any, TypeVar

from mmengine.logging import print_log

from mmtvr.errors import SetupError

MEBIBYTE = 2**20
#: Largest annotation file in MiB. A JSON file takes five to ten times its
#: size in memory; that of the largest set prepared here has 30 MiB.
LIMIT = 512
LIMIT_VARIABLE = 'MMTVR_ANNOTATION_LIMIT'
KINDS = (
    (stat.S_ISDIR, 'a folder'),
    (stat.S_ISFIFO, 'a pipe'),
    (stat.S_ISSOCK, 'a socket'),
    (stat.S_ISCHR, 'a device'),
    (stat.S_ISBLK, 'a device'),
)


def read_text(path: str | Path) -> str:
    """Read a text file in UTF-8, without its byte order mark.

    A pipe or another special file is not opened, and a file larger than the
    limit is not read.

    Raises:
        SetupError: It does not exist, is no regular file, too large, not
            readable, or no UTF-8; the message names the file and, for a wrong
            byte, the line.
    """
    data = _read_bytes(path)
    if data.startswith((b'\xff\xfe', b'\xfe\xff')):
        raise SetupError(f'{path} is in UTF-16; save it as UTF-8')
    try:
        return data.decode('utf-8-sig')
    except UnicodeDecodeError as error:
        line = data.count(b'\n', 0, error.start) + 1
        raise SetupError(
            f'{path}, line {line} is not UTF-8: byte 0x{data[error.start]:02x}'
            f' at position {error.start}; save the file as UTF-8'
        ) from error


#: Of files that are no UTF-8: what Windows writes in Western Europe.
FALLBACK = 'cp1252'


def decode_text(
    path: str | Path, encoding: str | None = None
) -> tuple[str, list[str]]:
    """Read a text file whose encoding nobody stated.

    Args:
        path: The file.
        encoding: A name that Python knows. None: what the byte order mark
            says, else UTF-8 where it is that, else cp1252.

    Returns:
        The text, and a note with an example where the encoding is a guess.

    Raises:
        SetupError: It cannot be read in that encoding, or see
            :func:`read_text`.
    """
    data = _read_bytes(path)
    guess = encoding or _guess_encoding(data)
    try:
        text = data.decode(guess)
    except LookupError as error:
        raise SetupError(f'there is no encoding {guess!r}') from error
    except UnicodeDecodeError as error:
        line = data.count(b'\n', 0, error.start) + 1
        raise SetupError(
            f'{path}, line {line} is not in {guess}: byte '
            f'0x{data[error.start]:02x}; name the encoding (--encoding)'
        ) from error
    text = text.removeprefix('\ufeff')
    if encoding or guess.startswith('utf-8'):
        return text, []
    special = re.search(r'\w*[^\x00-\x7f]\w*', text)
    example = f', such as {special[0]!r}' if special else ''
    return text, [f'read as {guess}{example}']


def _guess_encoding(data: bytes) -> str:
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return 'utf-16'
    try:
        data.decode('utf-8')
    except UnicodeDecodeError:
        return FALLBACK
    return 'utf-8-sig'


def _read_bytes(path: str | Path) -> bytes:
    limit = get_limit()
    try:
        status = os.stat(path)
        for is_kind, kind in KINDS:
            if is_kind(status.st_mode):
                raise SetupError(f'{path} is {kind}, expected a file')
        _check_size(str(path), status.st_size, limit)
        with open(path, 'rb') as file:
            data = file.read(limit + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, 'strerror', None) or error
        raise SetupError(f'{path} cannot be read: {reason}') from error
    _check_size(str(path), len(data), limit)
    return data


def get_limit() -> int:
    """Largest size of an annotation file in bytes.

    It is ``MMTVR_ANNOTATION_LIMIT`` in MiB, 512 MiB where that is not set.

    Raises:
        SetupError: The variable is no positive number.
    """
    value = os.environ.get(LIMIT_VARIABLE, str(LIMIT))
    if not value.isdecimal() or not int(value):
        raise SetupError(
            f'{LIMIT_VARIABLE} is {value!r}, expected a number of MiB'
        )
    return int(value) * MEBIBYTE


def _check_size(name: str, size: int, limit: int) -> None:
    if size > limit:
        raise SetupError(
            f'{name} has {size / MEBIBYTE:,.0f} MiB or more, annotation files '
            f'are read up to {limit // MEBIBYTE:,} MiB; if it is one, set '
            f'{LIMIT_VARIABLE} to more MiB'
        )


def split_lines(text: str) -> list[str]:
    """Split at LF and CR LF alone.

    ``str.splitlines`` also splits at characters that may stand in a caption,
    such as U+2028 and U+0085.
    """
    return [line.removesuffix('\r') for line in text.split('\n')]


def read_lines(path: Path) -> list[str]:
    """Read the lines that are not blank, without white space around them."""
    lines = split_lines(read_text(path))
    return [line.strip() for line in lines if line.strip()]


def read_json(path: Path) -> Any:
    """Read a ``.json`` file, or the one JSON file inside a ``.zip``.

    Raises:
        SetupError: It cannot be read or is not JSON, or the zip does not hold
            exactly one JSON file.
    """
    if path.suffix != '.zip':
        return parse_json(read_text(path), str(path))
    try:
        text = _read_zipped(path)
    except SetupError:
        raise
    except Exception as error:
        # zipfile has an exception of its own for each way to be damaged.
        raise SetupError(f'{path} cannot be read: {error}') from error
    return parse_json(text, str(path))


def _read_zipped(path: Path) -> str:
    limit = get_limit()
    with zipfile.ZipFile(io.BytesIO(_read_bytes(path))) as archive:
        inside = [n for n in archive.namelist() if n.endswith('.json')]
        if len(inside) != 1:
            raise SetupError(
                f'{path} holds {len(inside)} JSON files, expected 1'
            )
        size = archive.getinfo(inside[0]).file_size
        _check_size(f'the file in {path}', size, limit)
        with archive.open(inside[0]) as file:
            data = file.read(limit + 1)
    _check_size(f'the file in {path}', len(data), limit)
    return data.decode('utf-8-sig')


def parse_json(text: str, where: str) -> Any:
    """Parse JSON whose objects have each key once.

    The standard library keeps the last of several equal keys and silently
    drops the others.

    Args:
        text: The text.
        where: File and perhaps line, for the message.

    Raises:
        SetupError: It is no JSON, or nested too deeply.
    """
    try:
        return json.loads(text, object_pairs_hook=_refuse_duplicates)
    except (ValueError, RecursionError) as error:
        raise SetupError(f'{where} cannot be read as JSON: {error}') from error


def _refuse_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    content = dict(pairs)
    if len(content) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f'the key {twice!r:.80} occurs twice in one object')
    return content


class Row(dict[str, str]):
    """The fields of a row by column.

    Args:
        fields: Names and values.
        line: Its last line in the file, from 1, empty ones counted.
    """

    def __init__(self, fields: Iterable[tuple[str, str]], line: int) -> None:
        super().__init__(fields)
        self.line = line


def read_table(path: Path, *columns: str) -> list[Row]:
    """Read a CSV file that has a header.

    Args:
        path: The CSV file.
        *columns: Columns that must be there, with a value in each row.

    Returns:
        The rows that are not empty.

    Raises:
        SetupError: The file cannot be read, its header lacks one of the
            columns or names one twice, or a row has more or fewer fields;
            the message names the line.
    """
    text = io.StringIO(read_text(path), newline='')
    reader, line = csv.reader(text, strict=True), 0
    try:
        header = next(filter(None, reader), [])
        line = reader.line_num
        missing = sorted(set(columns) - set(header))
        if missing:
            raise SetupError(
                f'{path} has no column {missing}; its header is '
                f'{brief(header)}{_name_delimiter(header, columns)}'
            )
        twice = [name for name in columns if header.count(name) > 1]
        if twice:
            raise SetupError(f'{path} has the column {twice[0]} twice')
        rows, empty = [], 0
        for row in reader:
            line = reader.line_num
            if not any(row):
                # Spreadsheets end with them.
                empty += bool(row)
                continue
            if len(row) != len(header):
                raise SetupError(
                    f'{path}, line {reader.line_num} has not as many fields '
                    f'as the header: {brief(row)}'
                )
            rows.append(Row(zip(header, row, strict=True), reader.line_num))
        if empty:
            print_log(f'{path}: {empty} empty rows are left out.', 'current')
        return rows
    except csv.Error as error:
        raise SetupError(
            f'{path} is no CSV after line {line}: {error}'
        ) from error


def _name_delimiter(header: list[str], columns: tuple[str, ...]) -> str:
    """What separates the columns of a table where no comma does."""
    for delimiter, name in ((';', 'semicolons'), ('\t', 'tabs'), ('|', '|')):
        parts = [
            part.strip() for part in delimiter.join(header).split(delimiter)
        ]
        if len(parts) > len(header) and set(columns) <= set(parts):
            return f': its columns are separated by {name}, expected commas'
    return ''


# Half of a character that UTF-16 writes in two; no text holds it alone.
SURROGATE = re.compile('[\ud800-\udfff]')
# Control characters other than white space, and those that turn the direction
# of what follows: they change what a terminal or a page shows.
CONTROL = re.compile(
    '[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u202a-\u202e\u2066-\u2069]'
)
SPACING = re.compile('[\t-\r\x1c-\x1f\x85\u2028\u2029]')

_repr = Repr()
_repr.maxstring = _repr.maxother = 80


def brief(value: object) -> str:
    """``repr`` for an error message: printable, cut in the middle."""
    return _repr.repr(value)


def has_word(text: str) -> bool:
    """Whether a text holds a letter or digit of any script, or a pictograph.

    Punctuation, white space and control characters alone are no words.
    """
    return any(
        letter.isalnum() or unicodedata.category(letter) == 'So'
        for letter in text
    )


def find_caption_fault(caption: object) -> str | None:
    """Describe what is no caption; None for a caption."""
    if not isinstance(caption, str):
        return brief(caption)
    if SURROGATE.search(caption):
        return f'{brief(caption)}, which holds half a character'
    if not has_word(caption):
        return f'{brief(caption)}, which holds no word'
    return None


def find_name_fault(name: object) -> str | None:
    """Describe what cannot be the name of a video file; None for a name."""
    if not isinstance(name, str) or not name.strip():
        return f'{brief(name)} is not the name of a file'
    if SURROGATE.search(name):
        return f'the file name {brief(name)} holds half a character'
    if CONTROL.search(name) or SPACING.search(name):
        return f'the file name {brief(name)} holds a control character'
    return None


# The checks below return the value, or raise a SetupError that begins with
# ``where``: the file and the place in it.

Kind = TypeVar('Kind')
NAMES = {dict: 'an object', list: 'a list', str: 'a text', int: 'a number'}


def expect(value: object, kind: type[Kind], where: str) -> Kind:
    """Check the type of a parsed value: dict, list, str or int."""
    if not isinstance(value, kind) or isinstance(value, bool):
        raise SetupError(f'{where} is {brief(value)}, expected {NAMES[kind]}')
    if isinstance(value, str) and SURROGATE.search(value):
        raise SetupError(f'{where} is {brief(value)}: half a character')
    return value


def take(row: object, key: str, kind: type[Kind], where: str) -> Kind:
    """Take a value of a type, see :func:`expect`, out of a JSON object."""
    row = expect(row, dict, where)
    if key not in row:
        raise SetupError(f'{where} has no key "{key}": {brief(row)}')
    return expect(row[key], kind, f'"{key}" of {where}')


def take_texts(value: object, where: str) -> list[str]:
    """Check a list of captions."""
    texts = expect(value, list, where)
    for number, text in enumerate(texts):
        expect(text, str, f'caption {number} of {where}')
    return texts


def take_name(value: object, where: str) -> str:
    """Check the name of a video file."""
    fault = find_name_fault(value)
    if fault:
        raise SetupError(f'{where}: {fault}')
    return str(value)


def to_seconds(value: Any, where: str) -> float | None:
    """Convert a number or its text to seconds from 0; None or '' to None."""
    if value is None or value == '':
        return None
    try:
        seconds = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not math.isfinite(seconds) or seconds < 0:
        raise SetupError(f'{where} is {brief(value)}, expected seconds from 0')
    return seconds


def check_span(start: float | None, end: float | None, where: str) -> None:
    """Check that a clip ends after its start; None is that of the file."""
    if end is not None and end <= (start or 0):
        raise SetupError(f'the span of {where} is from {start} to {end}')
