"""From when to when a video shows what a text says."""

import functools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mmtvr.search.stores.base import StoredVideos
from mmtvr.structures import TokenFeatures

#: Moments of a video that are kept, the best first.
MAX_MOMENTS = 10
#: Of two moments that share more than this, the better one stays.
MAX_IOU = 0.5
# Spans of so many frames and about a quarter more each time are compared, and
# the best of all are chosen from.
MAX_SPAN_FRAMES = 256
CANDIDATES = 1000
# What a span is scored by; chosen on 20 long videos of moving shapes.
FRAME_SHARE = 0.3
OUTSIDE = 0.15
# In standard deviations of the cosines of the frames, for a whole text.
LENGTH_BONUS = 0.2
# A moment is shown where the text is nearly as much more like it than like
# the frames around as at the best one.
SHOWN_SHARE = 0.8


@dataclass(frozen=True)
class Moment:
    """A part of a video that is like a text.

    Attributes:
        start: Seconds from the first frame of the file.
        end: Likewise.
        score: How much it is like the text; only to be compared with other
            moments of the same text.
    """

    start: float
    end: float
    score: float


class Timeline(NamedTuple):
    """The frames of a video in their order, and a text.

    Attributes:
        cosines: Shape (P, T), of P words with T frames.
        weights: Shape (P,), of the words, of sum 1.
        scores: Shape (T,), the best score of the windows that hold a frame.
        starts: Shape (T,), seconds from which on a frame stands for the video.
        ends: Shape (T,), seconds until which it does.
        by_words: Whether there are words; False: one row, the whole text.
    """

    cosines: np.ndarray
    weights: np.ndarray
    scores: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    by_words: bool = True

    @property
    def step(self) -> float:
        """Seconds between frames, the median: moments are no finer."""
        return float(np.median(self.ends - self.starts))


def lay_out(
    query: TokenFeatures,
    videos: StoredVideos,
    scores: np.ndarray,
    by_words: bool = True,
) -> Timeline:
    """Put the frames of a video in order.

    A frame that several windows hold stands once, with the mean of its
    cosines. Each stands for the time up to half way to its neighbours.

    Args:
        query: Features of one text.
        videos: Its windows, or the whole alone; all of them have frames.
        scores: Shape (N,), what the head gives to each.
        by_words: Whether words are compared with frames; False: the whole
            text, for a head that compares pooled vectors.
    """
    words, weights = query.pooled.float().numpy(), np.ones(1)
    if by_words:
        mask = query.mask[0].numpy()
        words = query.tokens[0].float().numpy()[mask]
        weights = np.ones(len(words))
        if query.weight is not None:
            weights = query.weight[0].double().numpy()[mask]
    every = words @ np.concatenate(videos.tokens).T
    counts = [len(each) for each in videos.times]
    times, place = np.unique(
        np.concatenate(videos.times).round(3), return_inverse=True
    )
    cosines = np.zeros((len(words), len(times)))
    np.add.at(cosines.T, place, every.T)
    cosines /= np.bincount(place)
    best = np.full(len(times), -np.inf)
    np.maximum.at(best, place, np.repeat(scores, counts))
    between = (times[1:] + times[:-1]) / 2
    first = last = 0.0
    if len(times) > 1:
        first, last = between[0] - times[0], times[-1] - between[-1]
    return Timeline(
        cosines,
        weights / weights.sum(),
        best,
        np.concatenate([[max(0.0, times[0] - first)], between]),
        np.concatenate([between, [times[-1] + last]]),
        by_words,
    )


def find_moments(timeline: Timeline, count: int = MAX_MOMENTS) -> list[Moment]:
    """Find the spans of a video that are most like a text.

    Args:
        timeline: The frames.
        count: How many, at most.

    Returns:
        Moments, the best first. No two share more than ``MAX_IOU``, their
        intersection over union.
    """
    return _choose(_score_spans(timeline), count)


def choose_shown(timeline: Timeline) -> list[Moment]:
    """Choose the moments of a hit: the best, and others nearly as good.

    Returns:
        Moments that do not overlap, at least one, the best first.
    """
    spans = _score_spans(timeline)
    scores = spans[:, 2]
    usual = np.median(scores)
    least = usual + SHOWN_SHARE * (scores.max() - usual)
    shown: list[Moment] = []
    # Leaving out the others first changes nothing, and takes half the time.
    for each in _choose(spans[scores >= least], MAX_MOMENTS):
        if all(each.start >= m.end or each.end <= m.start for m in shown):
            shown.append(each)
    return shown


def _choose(spans: np.ndarray, count: int) -> list[Moment]:
    order = np.argsort(-spans[:, 2], kind='stable')[:CANDIDATES]
    return [Moment(*each) for each in _without_overlap(spans[order], count)]


def _score_spans(timeline: Timeline) -> np.ndarray:
    """Starts, ends and scores (N, 3) of spans of many lengths.

    A span scores as its best window does, plus what its frames do: the mean
    over the words of the frame most like each, which a longer span raises,
    the mean over its frames of the word most like each, which frames of other
    things lower, less a little of that mean of the frames beside the span.
    The whole text is most like a single frame; what it lacks to make a span
    longer is a bonus that grows with the logarithm of its frames.
    """
    likeness = timeline.cosines.max(0)
    total = np.concatenate([[0.0], likeness.cumsum()])
    scores = np.concatenate([[0.0], timeline.scores.cumsum()])
    least = likeness.min()
    beside = np.concatenate([[least], likeness, [least]])
    bonus = 0.0 if timeline.by_words else LENGTH_BONUS * likeness.std()
    starts, lengths = _list_spans(likeness.size)
    ends = starts + lengths
    of_words = np.empty(len(starts))
    # The best frame of each word in all spans of 1, 2, 4 ... frames; two of
    # them cover a longer one.
    table, width = timeline.cosines, 1
    while width <= lengths[-1]:
        some = slice(*np.searchsorted(lengths, [width, 2 * width]))
        first, last = table[:, starts[some]], table[:, ends[some] - width]
        of_words[some] = timeline.weights @ np.maximum(first, last)
        table = np.maximum(table[:, :-width], table[:, width:])
        width *= 2
    value = (
        (scores[ends] - scores[starts]) / lengths
        + (1 - FRAME_SHARE) * of_words
        + FRAME_SHARE * (total[ends] - total[starts]) / lengths
        - OUTSIDE * (beside[starts] + beside[ends + 1]) / 2
        + bonus * np.log(lengths)
    )
    return np.stack(
        [timeline.starts[starts], timeline.ends[ends - 1], value], axis=1
    )


@functools.lru_cache(maxsize=64)
def _list_spans(frames: int) -> tuple[np.ndarray, np.ndarray]:
    """First frames and lengths of spans, the shortest first."""
    lengths, length = [], 1
    while length <= min(frames, MAX_SPAN_FRAMES):
        lengths.append(length)
        length = max(length + 1, length * 5 // 4)
    starts = [np.arange(frames - length + 1) for length in lengths]
    repeats = [len(each) for each in starts]
    return np.concatenate(starts), np.repeat(lengths, repeats)


def _without_overlap(spans: np.ndarray, count: int) -> list[list[float]]:
    """Leave out spans (N, 3), best first, that share much with a better."""
    chosen: list[list[float]] = []
    while len(spans) and len(chosen) < count:
        start, end, _ = spans[0]
        chosen.append(spans[0].tolist())
        both = np.minimum(spans[:, 1], end) - np.maximum(spans[:, 0], start)
        both = np.maximum(both, 0)
        union = spans[:, 1] - spans[:, 0] + (end - start) - both
        # The span itself leaves also where it has no length.
        stays = both <= MAX_IOU * union
        stays[0] = False
        spans = spans[stays]
    return chosen
