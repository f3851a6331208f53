"""Captions and file names of others, where more is read into them than text.

A terminal obeys control characters, a spreadsheet computes what begins with
an equals sign. (Pages escape by themselves: their templates do it.)
"""

import csv
import io
import re
from collections.abc import Iterable

CONTROL = re.compile(
    '[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069'
    '\ud800-\udfff]'
)
FORMULA = re.compile(r'[=+@\t\r]|-(?=.*[(|!])', re.DOTALL)


def for_terminal(text: str) -> str:
    r"""Make a text safe to print.

    Args:
        text: Any text, line feeds and tabs allowed.

    Returns:
        The text with control characters, those that turn the direction, and
        what is no character written as escapes.

    Example:
        >>> for_terminal('a\x1b[2Jb')
        'a\\x1b[2Jb'
    """
    return CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


def for_spreadsheet(text: str) -> str:
    """Keep a cell of a CSV file from being taken for a formula.

    A minus at the beginning, as YouTube's names have it, stays where no
    function can be called.

    Args:
        text: The cell.

    Returns:
        The cell, with an apostrophe in front of what would be computed.

    Example:
        >>> for_spreadsheet('=1+1'), for_spreadsheet('-aB3_x.mp4')
        ("'=1+1", '-aB3_x.mp4')
    """
    return f"'{text}" if FORMULA.match(text) else text


def to_csv(rows: Iterable[Iterable[object]]) -> bytes:
    """Write a CSV file whose cells no spreadsheet takes for formulas.

    Args:
        rows: The header and all rows.

    Returns:
        UTF-8; bytes of file names that are none stay as they are.
    """
    text = io.StringIO(newline='')
    writer = csv.writer(text)
    for row in rows:
        writer.writerow([for_spreadsheet(str(cell)) for cell in row])
    return text.getvalue().encode('utf-8', 'surrogateescape')
