"""Numbers that a search or an index is asked for."""

from mmtvr.errors import SetupError


def require_at_least(least: int, **numbers: int) -> None:
    """Refuse numbers that are too small, before anything is written.

    Args:
        least: The smallest that makes sense.
        **numbers: Arguments by name.

    Raises:
        SetupError: One is smaller; names it.

    Example:
        >>> require_at_least(1, top_k=10, candidates=100)
    """
    for name, number in numbers.items():
        if number < least:
            raise SetupError(f'{name} must be at least {least}, got {number}')
