"""What a search gives back."""

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from mmtvr.explanation import Explanation


@dataclass(frozen=True)
class WordMoment:
    """A key word of the query and where in the video it is seen best.

    Attributes:
        word: The word as it stands in the query.
        weight: Its textual attention, the mean over its word pieces.
        time: Seconds from the first frame of the file to the frame that is
            most like the word.
        score: Cosine of the word and that frame.
    """

    word: str
    weight: float
    time: float
    score: float


@dataclass(frozen=True)
class SearchResult:
    """One video that was found.

    Attributes:
        path: The file as it was indexed.
        score: Similarity by the head of the model, the higher the better;
            for a query by vector or by video, the cosine of pooled vectors.
        rank: 1 for the best.
        time: Seconds from the first frame of the file to the frame that is
            most like the whole query. None where the index has no frames.
        words: The key words of a text query; empty for other queries.
        start: First second of the indexed span; None from the beginning.
        end: Last second of the indexed span; None to the end.
    """

    path: str
    score: float
    rank: int
    time: float | None = None
    words: tuple[WordMoment, ...] = ()
    start: float | None = None
    end: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, dicts, strings and numbers, for JSON.

        Returns:
            The fields by name.
        """
        return asdict(self)


@dataclass(frozen=True)
class VideoExplanation:
    """Why a text and a video have their score.

    Attributes:
        text: The query.
        path: The video.
        times: Shape (T,), seconds from the first frame of the file to each
            frame of the explanation.
        explanation: Word pieces, their weights, their cosines with the
            frames and more, see :class:`mmtvr.explanation.Explanation`.
    """

    text: str
    path: str
    times: np.ndarray = field(repr=False)
    explanation: Explanation = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, dicts, strings and numbers, for JSON.

        Returns:
            The fields by name.
        """
        return _plain(asdict(self))


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if hasattr(value, '_asdict'):
        value = value._asdict()
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return value


@dataclass(frozen=True)
class IndexReport:
    """What one call of ``index`` did.

    Attributes:
        videos: Files in the index now, unreadable ones not counted.
        encoded: Videos that were read and encoded in this call.
        reused: Files that are new or have moved, but whose content was known.
        unchanged: Files that were there before and are as they were.
        removed: Files that are gone and were taken out of the index.
        unreadable: Path and reason of each file that could not be read.
        skipped: How many of these were not tried again, since they are as
            they were.
        seconds: How long it took.
    """

    videos: int
    encoded: int
    reused: int
    unchanged: int
    removed: int
    unreadable: dict[str, str]
    skipped: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, dicts, strings and numbers, for JSON.

        Returns:
            The fields by name.
        """
        return asdict(self)
