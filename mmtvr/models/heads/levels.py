"""A caption as one sentence vector or as its words."""

from collections.abc import Sequence

from mmtvr.structures import TokenFeatures

LEVELS = ('sentence', 'word')


def check_levels(levels: Sequence[str]) -> tuple[str, ...]:
    """Check names of levels.

    Args:
        levels: One or both of ``'sentence'`` and ``'word'``.

    Returns:
        The levels as a tuple.

    Raises:
        ValueError: If there is none, an unknown one, or one twice.
    """
    levels = (levels,) if isinstance(levels, str) else tuple(levels)
    known = set(levels) <= set(LEVELS)
    if not levels or not known or len(set(levels)) < len(levels):
        raise ValueError(
            f'levels must be one or both of {LEVELS}, not {levels!r}'
        )
    return levels


def as_sentence(text: TokenFeatures) -> TokenFeatures:
    """Make the sentence vector the only token.

    Args:
        text: B captions.

    Returns:
        B captions of one real token each, without textual attention.
    """
    mask = text.mask.new_ones(len(text.pooled), 1)
    return TokenFeatures(text.pooled[:, None], mask, text.pooled)
