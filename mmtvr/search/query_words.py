"""The words of a query and which word pieces they became."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from mmtvr.errors import SetupError

WORD = re.compile(r"\w+(?:['’-]\w+)*")


class QueryWord(NamedTuple):
    """A word of a text.

    Attributes:
        text: As it stands in the query.
        pieces: Positions of its pieces among the real tokens of the text.
        weight: Its textual attention, the mean over its pieces.
        is_key: Whether it is a key word. Where the pipeline has no
            ``TagKeyWords``, every word is.
    """

    text: str
    pieces: tuple[int, ...]
    weight: float
    is_key: bool


def find_words(transforms: Sequence[Any], text: str) -> list[QueryWord]:
    """Find the words of a text that have a word piece.

    Args:
        transforms: The transforms of texts, one of which names the place of
            each piece with ``find_spans(text)``.
        text: The query.

    Returns:
        Its words, in order; what was cut off is not among them.

    Raises:
        SetupError: No transform has ``find_spans``.
    """
    sample: dict[str, Any] = dict(text=[text])
    for transform in transforms:
        sample = transform(sample)
        if hasattr(transform, 'find_spans'):
            text = sample['text'][0]
            return _to_words(text, transform.find_spans(text), sample)
    raise SetupError(
        'no transform of texts has find_spans(text), as mmtvr.TokenizeText '
        'does: words cannot be told'
    )


def _to_words(
    text: str, spans: Sequence[tuple[int, int]], sample: dict[str, Any]
) -> list[QueryWord]:
    keys = sample.get('keyword_spans')
    weights = None
    if 'token_weight' in sample:
        weights = sample['token_weight'][0][sample['token_mask'][0]]
    words = []
    for match in WORD.finditer(text):
        pieces = tuple(
            place for place, span in enumerate(spans) if _meet(span, match)
        )
        if pieces:
            is_key = keys is None or any(_meet(k, match) for k in keys[0])
            weight = 1.0 if weights is None else weights[list(pieces)].mean()
            words.append(QueryWord(match[0], pieces, float(weight), is_key))
    return words


def _meet(span: tuple[int, int], match: re.Match) -> bool:
    start, end = span
    return start < match.end() and end > match.start() and start < end
