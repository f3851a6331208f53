"""Text files that users name, read within limits and refused by name."""

import json
import os
import stat
from collections import Counter
from pathlib import Path
from typing import Any

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
