"""What a caption and a file name must be made of."""

import re
import unicodedata
from reprlib import Repr

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
