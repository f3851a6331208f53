"""What a score means: the probability that a video shows what is asked."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmtvr.errors import SetupError
from mmtvr.files import write_atomically

if TYPE_CHECKING:
    from mmtvr.search.query import SearchResult

#: Beside the weights that it is of.
FILE = 'calibration.json'
#: What an index keeps it as among its facts.
FACT = 'calibration'
# With fewer than these of a kind the curve says nothing.
MIN_OF_A_KIND = 10
NEWTON_STEPS = 100
# Words for people, from these probabilities on.
WORDS = ((0.8, 'fits well'), (0.5, 'may fit'), (0.2, 'hardly fits'))
LAST_WORD = 'does not fit'


@dataclass(frozen=True)
class Calibration:
    """A logistic curve from scores to probabilities (Platt scaling).

    It holds for best hits of a collection of about ``videos`` videos, where
    half of the queries ask for what the collection does not hold.

    Attributes:
        slope: By how much the logit rises with the score.
        intercept: The logit at a score of 0.
        queries: How many held-out texts it was fitted to.
        videos: How many videos they were searched in.
        error: Expected calibration error of texts that it was not fitted to,
            from 0 to 1.
        checkpoint: Hash of the weights; None for pretrained encoders.
    """

    slope: float
    intercept: float
    queries: int
    videos: int
    error: float
    checkpoint: str | None = None

    def probability(self, score: float) -> float:
        """Probability that a video with this score shows what is asked."""
        logit = self.slope * score + self.intercept
        return 0.5 * (1 + math.tanh(logit / 2))

    @property
    def cut_off(self) -> float:
        """The score below which a best hit is wrong more often than right."""
        return -self.intercept / self.slope

    def to_dict(self) -> dict[str, Any]:
        """The fields, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: Any) -> 'Calibration | None':
        """Read :meth:`to_dict`; None where it is something else."""
        try:
            found = cls(**fields)
            numbers = (found.slope, found.intercept, found.error)
            is_sound = all(map(math.isfinite, numbers)) and found.slope > 0
        except TypeError:
            return None
        return found if is_sound else None


def fit_logistic(scores: np.ndarray, right: np.ndarray) -> tuple[float, float]:
    """Fit a logistic curve by maximum likelihood.

    Targets are those of Platt (1999), which keep the slope finite where the
    scores separate right from wrong.

    Args:
        scores: Shape (N,).
        right: Shape (N,), bool.

    Returns:
        Slope and intercept.

    Raises:
        ValueError: Some are all right, or all wrong.
    """
    positives, negatives = right.sum(), (~right).sum()
    if not positives or not negatives:
        raise ValueError('there must be right and wrong ones')
    high = (positives + 1) / (positives + 2)
    target = np.where(right, high, 1 / (negatives + 2))
    mean, spread = scores.mean(), max(float(scores.std()), 1e-12)
    inputs = np.stack([(scores - mean) / spread, np.ones_like(scores)], 1)
    weights = np.zeros(2)
    for _ in range(NEWTON_STEPS):
        guess = 0.5 * (1 + np.tanh(inputs @ weights / 2))
        curvature = (inputs * (guess * (1 - guess))[:, None]).T @ inputs
        curvature += 1e-9 * np.eye(2)
        step = np.linalg.solve(curvature, inputs.T @ (target - guess))
        # Damped: a whole step may leave the region where it is convex.
        weights = weights + step / max(1.0, float(np.abs(step).max()))
        if np.abs(step).max() < 1e-9:
            break
    slope = weights[0] / spread
    return float(slope), float(weights[1] - slope * mean)


def reliability(
    probabilities: np.ndarray, right: np.ndarray, bins: int = 10
) -> list[tuple[float, float, int]]:
    """Compare probabilities with how often they come true.

    Args:
        probabilities: Shape (N,), from 0 to 1.
        right: Shape (N,), bool.
        bins: How many of equal width.

    Returns:
        For each bin that is not empty: mean probability, share that is
        right, and how many it has.
    """
    places = np.minimum((probabilities * bins).astype(int), bins - 1)
    return [
        (
            float(probabilities[places == place].mean()),
            float(right[places == place].mean()),
            int((places == place).sum()),
        )
        for place in range(bins)
        if (places == place).any()
    ]


def expected_calibration_error(
    probabilities: np.ndarray, right: np.ndarray, bins: int = 10
) -> float:
    """Mean distance between probability and frequency (ECE), by bins."""
    table = reliability(probabilities, right, bins)
    return sum(abs(p - f) * count for p, f, count in table) / len(right)


def best_hits(
    results: Sequence[Sequence['SearchResult']],
    own: Sequence[frozenset[tuple]],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Best hits of queries, with and without the videos that they are of.

    Args:
        results: Hits of each query, the best first; at least one more than
            it has videos.
        own: The videos of each query, as path, start and end.

    Returns:
        Scores (N,), whether the video is one of the query (N,), and the
        number of the query (N,). Each query comes twice: as it is, and as if
        the collection did not hold its videos.
    """
    rows = []
    for number, (hits, mine) in enumerate(zip(results, own, strict=True)):
        named = [
            (
                hit.score,
                any(
                    (path, hit.start, hit.end) in mine
                    for path in (hit.path, *hit.copies)
                ),
            )
            for hit in hits
        ]
        rows += [(*each, number) for each in named[:1]]
        others = [score for score, is_mine in named if not is_mine]
        rows += [(score, False, number) for score in others[:1]]
    scores, right, numbers = zip(*rows, strict=True) if rows else ((), (), ())
    return np.array(scores, float), np.array(right, bool), np.array(numbers)


def calibrate(
    results: Sequence[Sequence['SearchResult']],
    own: Sequence[frozenset[tuple]],
    videos: int,
    checkpoint: str | None = None,
) -> tuple[Calibration, list[tuple[float, float, int]]]:
    """Fit a calibration to the best hits of held-out texts.

    Args:
        results: See :func:`best_hits`.
        own: Likewise.
        videos: How many were searched.
        checkpoint: Hash of the weights.

    Returns:
        The calibration, fitted to all, and the reliability of two that were
        fitted to one half of the texts each, on the other half. Texts of a
        video are in the same half.

    Raises:
        SetupError: There are too few right or wrong ones, or higher scores
            are not more often right.
    """
    scores, right, numbers = best_hits(results, own)
    names = sorted({min(map(str, each)) for each in own})
    halves = {name: place % 2 for place, name in enumerate(names)}
    half = np.array([halves[min(map(str, own[n]))] for n in numbers], int)
    for kind, name in ((right, 'right'), (~right, 'wrong')):
        for part in (0, 1):
            found = int((kind & (half == part)).sum())
            if found < MIN_OF_A_KIND:
                raise SetupError(
                    f'only {found} best hits of half of the captions are '
                    f'{name}: at least {MIN_OF_A_KIND} are needed to '
                    'calibrate; give captions of more videos of the index'
                )
    probabilities = np.zeros(len(scores))
    for part in (0, 1):
        slope, intercept = fit_logistic(
            scores[half != part], right[half != part]
        )
        fitted = Calibration(slope, intercept, 0, 0, 0.0)
        rows = half == part
        probabilities[rows] = [fitted.probability(s) for s in scores[rows]]
    slope, intercept = fit_logistic(scores, right)
    if not slope > 0:
        raise SetupError(
            'higher scores are not more often right with these captions: are '
            'they of the videos of this index?'
        )
    error = expected_calibration_error(probabilities, right)
    found = Calibration(
        slope, intercept, len(results), videos, error, checkpoint
    )
    return found, reliability(probabilities, right)


def write_calibration(found: Calibration, weights: Path) -> None:
    """Write a calibration beside the weights that it is of."""
    text = json.dumps(found.to_dict(), indent=2)
    write_atomically(weights.parent / FILE, text + '\n')


def find_calibration(
    info: dict[str, Any], weights: Path | None = None
) -> Calibration | None:
    """The calibration of an index, else that of its weights.

    Args:
        info: Facts of the index.
        weights: Where its checkpoint is.

    Returns:
        None where there is none, or it is of other weights.
    """
    kept = Calibration.from_dict(info.get(FACT))
    if kept is not None or weights is None:
        return kept
    try:
        content = json.loads((weights.parent / FILE).read_text('utf-8'))
    except (OSError, ValueError):
        return None
    beside = Calibration.from_dict(content)
    is_its = beside and beside.checkpoint == info.get('checkpoint')
    return beside if is_its else None


def describe_probability(probability: float) -> str:
    """In words; of a best hit below one half it is said that nothing fits."""
    for least, word in WORDS:
        if probability >= least:
            return word
    return LAST_WORD


def add_probabilities(
    results: Sequence['SearchResult'],
    calibration: Calibration | None,
    min_score: float | None = None,
) -> list['SearchResult']:
    """Say how probable each result is, and leave out those below a score.

    Of what was found by its texts alone nothing is known: the scores are of
    what is seen.
    """
    return [
        result
        if calibration is None or result.matched == ('text',)
        else replace(result, probability=calibration.probability(result.score))
        for result in results
        if min_score is None or result.score >= min_score
    ]


def fits(results: Sequence['SearchResult'], is_unknown: bool = False) -> bool:
    """Whether anything is probable to be what was asked for.

    True where nothing is known of it.

    Args:
        results: What was found.
        is_unknown: Whether the model knows no word of the query, so that only
            what was found by its texts can fit.
    """
    if is_unknown:
        return any('text' in each.matched for each in results)
    known = [r.probability for r in results if r.probability is not None]
    return not known or max(known) >= WORDS[1][0]
