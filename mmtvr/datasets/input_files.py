"""Text files of others, read within limits; each value checked and named."""

import json
import math
import os
import re
import stat
import unicodedata
from collections import Counter
from pathlib import Path
from reprlib import Repr
from typing import Any, TypeVar

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
    """Read a text file in UTF-8.

    What is no regular file, such as a pipe, is not opened, and what is larger
    than the limit is not read.

    Args:
        path: The file. A byte order mark at its beginning is left out.

    Returns:
        The text, line ends as they are.

    Raises:
        SetupError: It is not there, no regular file, too large, not allowed
            to be read, or no UTF-8; the message names the file and, for a
            wrong byte, the line.
    """
    data = read_bytes(path)
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


def read_bytes(path: str | Path) -> bytes:
    """Read a regular file that is not larger than the limit.

    Args:
        path: The file.

    Returns:
        Its content.

    Raises:
        SetupError: See :func:`read_text`.
    """
    limit = get_limit()
    try:
        status = os.stat(path)
        for is_kind, kind in KINDS:
            if is_kind(status.st_mode):
                raise SetupError(f'{path} is {kind}, expected a file')
        check_size(str(path), status.st_size, limit)
        with open(path, 'rb') as file:
            data = file.read(limit + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, 'strerror', None) or error
        raise SetupError(f'{path} cannot be read: {reason}') from error
    check_size(str(path), len(data), limit)
    return data


def get_limit() -> int:
    """Largest size of an annotation file.

    Returns:
        Bytes: ``MMTVR_ANNOTATION_LIMIT`` in MiB, 512 MiB where it is not set.

    Raises:
        SetupError: The variable is no positive number.
    """
    value = os.environ.get(LIMIT_VARIABLE, str(LIMIT))
    if not value.isdecimal() or not int(value):
        raise SetupError(
            f'{LIMIT_VARIABLE} is {value!r}, expected a number of MiB'
        )
    return int(value) * MEBIBYTE


def check_size(name: str, size: int, limit: int) -> None:
    """Refuse what is too large to be an annotation file.

    Args:
        name: What it is, for the message.
        size: Bytes, announced or read.
        limit: The most that is allowed.

    Raises:
        SetupError: It is larger.
    """
    if size > limit:
        raise SetupError(
            f'{name} has {size / MEBIBYTE:,.0f} MiB or more, annotation files '
            f'are read up to {limit // MEBIBYTE:,} MiB; if it is one, set '
            f'{LIMIT_VARIABLE} to more MiB'
        )


def split_lines(text: str) -> list[str]:
    """Split at line feeds alone.

    ``str.splitlines`` also splits at characters that may stand in a caption,
    such as U+2028 and U+0085.

    Args:
        text: Any text.

    Returns:
        The lines without their ends, LF or CR LF.
    """
    return [line.removesuffix('\r') for line in text.split('\n')]


def parse_json(text: str, where: str) -> Any:
    """Parse JSON whose objects have each key once.

    The standard library keeps the last of several equal keys and drops what
    is under the others without a word.

    Args:
        text: The text.
        where: File and perhaps line, for the message.

    Returns:
        The content.

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
    """Show any value in an error message: printable and not long.

    Args:
        value: What a file holds.

    Returns:
        Its ``repr``, cut in the middle.
    """
    return _repr.repr(value)


def has_word(text: str) -> bool:
    """Whether a text says anything.

    Args:
        text: Any text.

    Returns:
        True for a letter or digit of any script, or a pictograph; False for
        punctuation, white space and control characters alone.
    """
    return any(
        letter.isalnum() or unicodedata.category(letter) == 'So'
        for letter in text
    )


def find_caption_fault(caption: object) -> str | None:
    """Why something is no caption.

    Args:
        caption: What stands in its place.

    Returns:
        What it is, or None for a caption.
    """
    if not isinstance(caption, str):
        return brief(caption)
    if SURROGATE.search(caption):
        return f'{brief(caption)}, which holds half a character'
    if not has_word(caption):
        return f'{brief(caption)}, which holds no word'
    return None


def find_name_fault(name: object) -> str | None:
    """Why something cannot be the name of a video file.

    Args:
        name: What stands in its place.

    Returns:
        What is wrong, or None for a name.
    """
    if not isinstance(name, str) or not name.strip():
        return f'{brief(name)} is not the name of a file'
    if SURROGATE.search(name):
        return f'the file name {brief(name)} holds half a character'
    if CONTROL.search(name) or SPACING.search(name):
        return f'the file name {brief(name)} holds a control character'
    return None


Kind = TypeVar('Kind')
NAMES = {dict: 'an object', list: 'a list', str: 'a text', int: 'a number'}


def expect(value: object, kind: type[Kind], where: str) -> Kind:
    """Check the type of a parsed value.

    Args:
        value: What was parsed.
        kind: ``dict``, ``list``, ``str`` or ``int``.
        where: File and place, for the message.

    Returns:
        The value.

    Raises:
        SetupError: It is something else, or a text with half a character.
    """
    if not isinstance(value, kind) or isinstance(value, bool):
        raise SetupError(f'{where} is {brief(value)}, expected {NAMES[kind]}')
    if isinstance(value, str) and SURROGATE.search(value):
        raise SetupError(f'{where} is {brief(value)}: half a character')
    return value


def take(row: object, key: str, kind: type[Kind], where: str) -> Kind:
    """Take one value out of a row.

    Args:
        row: An object, one hopes.
        key: Its key.
        kind: Type of the value, see :func:`expect`.
        where: File and place of the row, for the message.

    Returns:
        The value.

    Raises:
        SetupError: There is none, or one of another type.
    """
    row = expect(row, dict, where)
    if key not in row:
        raise SetupError(f'{where} has no key "{key}": {brief(row)}')
    return expect(row[key], kind, f'"{key}" of {where}')


def take_texts(value: object, where: str) -> list[str]:
    """Check a list of captions.

    Args:
        value: A list of texts, one hopes.
        where: File and place, for the message.

    Returns:
        The list.

    Raises:
        SetupError: It is something else.
    """
    texts = expect(value, list, where)
    for number, text in enumerate(texts):
        expect(text, str, f'caption {number} of {where}')
    return texts


def take_name(value: object, where: str) -> str:
    """Check the name of a video.

    Args:
        value: A text, one hopes.
        where: File and place, for the message.

    Returns:
        The name.

    Raises:
        SetupError: It is no name of a file.
    """
    fault = find_name_fault(value)
    if fault:
        raise SetupError(f'{where}: {fault}')
    return str(value)


def to_seconds(value: Any, where: str) -> float | None:
    """Turn a time of a clip into seconds.

    Args:
        value: A number or its text; None or empty for none.
        where: File, place and key, for the message.

    Returns:
        Seconds from 0, or None.

    Raises:
        SetupError: It is no finite number from 0.
    """
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
    """Check that a clip ends behind its beginning.

    Args:
        start: Seconds, or None for the beginning.
        end: Seconds, or None for the end.
        where: File and place, for the message.

    Raises:
        SetupError: It does not.
    """
    if end is not None and end <= (start or 0):
        raise SetupError(f'the span of {where} is from {start} to {end}')
