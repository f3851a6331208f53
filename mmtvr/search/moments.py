"""When a text and its words are seen in a video."""

from collections.abc import Sequence

import numpy as np

from mmtvr.search.query_words import QueryWord
from mmtvr.search.results import WordMoment
from mmtvr.structures import TokenFeatures


def find_moment(
    query: TokenFeatures, tokens: np.ndarray, times: np.ndarray
) -> float:
    """Find the frame that is most like the whole text.

    Args:
        query: Features of one text.
        tokens: Shape (T, D), the frames.
        times: Shape (T,), seconds.

    Returns:
        Its time in seconds.
    """
    return float(times[sentence_cosines(query, tokens).argmax()])


def sentence_cosines(query: TokenFeatures, tokens: np.ndarray) -> np.ndarray:
    """Compare the whole text with each frame.

    Args:
        query: Features of one text.
        tokens: Shape (T, D), the frames.

    Returns:
        Shape (T,).
    """
    return tokens @ query.pooled[0].float().numpy()


def word_cosines(
    query: TokenFeatures, words: Sequence[QueryWord], tokens: np.ndarray
) -> np.ndarray:
    """Compare each word, the mean over its pieces, with each frame.

    Args:
        query: Features of one text.
        words: W words of it.
        tokens: Shape (T, D), the frames.

    Returns:
        Shape (W, T).
    """
    pieces = query.tokens[0][query.mask[0]].float().numpy() @ tokens.T
    rows = [pieces[list(word.pieces)].mean(0) for word in words]
    return np.array(rows, np.float32).reshape(len(words), len(tokens))


def find_word_moments(
    query: TokenFeatures,
    words: Sequence[QueryWord],
    tokens: np.ndarray,
    times: np.ndarray,
) -> tuple[WordMoment, ...]:
    """Find for each key word the frame that is most like it.

    Args:
        query: Features of one text.
        words: The words of it.
        tokens: Shape (T, D), the frames.
        times: Shape (T,), seconds.

    Returns:
        One for each key word, in the order of the text.
    """
    keys = [word for word in words if word.is_key]
    cosines = word_cosines(query, keys, tokens)
    return tuple(
        WordMoment(
            word.text,
            word.weight,
            time=float(times[row.argmax()]),
            score=float(row.max()),
        )
        for word, row in zip(keys, cosines, strict=True)
    )
