"""Values out of rows that others wrote, checked one by one."""

import math
from typing import Any, TypeVar

from mmtvr.datasets.wording import SURROGATE, brief, find_name_fault
from mmtvr.errors import SetupError

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
