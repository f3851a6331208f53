"""What requests may ask for."""

import math

from starlette.requests import Request

from mmtvr.serve.errors import PageError

LONGEST_QUERY = 1000
SHOWN, MOST_SHOWN = 24, 96


def read_query(request: Request) -> str:
    """Read the text that is searched for.

    Args:
        request: With ``q``.

    Returns:
        The text, without spaces around it; empty if there is none.

    Raises:
        PageError: It is too long.
    """
    text = request.query_params.get('q', '').strip()
    if len(text) > LONGEST_QUERY:
        raise PageError(
            f'Your text has {len(text)} characters. Please ask with at most '
            f'{LONGEST_QUERY}: a sentence or two say best what you look for.'
        )
    return text


def read_count(request: Request) -> int:
    """Read how many results are wanted.

    Args:
        request: With ``k``.

    Returns:
        A number from 1 to ``MOST_SHOWN``.

    Raises:
        PageError: It is none.
    """
    value = request.query_params.get('k', str(SHOWN))
    if not value.isascii() or not value.isdigit() or len(value) > 6:
        raise PageError('k must be a number of results, such as 24.')
    return min(max(int(value), 1), MOST_SHOWN)


def read_time(request: Request) -> float | None:
    """Read a moment.

    Args:
        request: With ``t``.

    Returns:
        Seconds, or None.

    Raises:
        PageError: It is no time.
    """
    value = request.query_params.get('t')
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise PageError('t must be a time in seconds, such as 1.5.')
    return max(0.0, seconds)
