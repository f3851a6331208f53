"""The numbers behind one score."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


@dataclass(frozen=True)
class Scene:
    """A video as a picture shows it.

    Attributes:
        name: What it is called.
        frames: Shape (T, H, W, 3), uint8, RGB, as the model sees them.
        times: T times in seconds, or empty if they are not known.
        score: Its similarity with the caption.
    """

    name: str
    frames: np.ndarray
    times: Sequence[float] = ()
    score: float = 0.0


class Masking(NamedTuple):
    """What TPM-CL thinks of S tokens of one side, and which it would mask.

    Attributes:
        importance: Shape (S,), not negative, sum 1.
        removed: Shape (S,), bool, the tokens that the partial version lacks.
    """

    importance: np.ndarray
    removed: np.ndarray


@dataclass(frozen=True)
class Explanation:
    """Why a caption and a video have their score.

    Only real tokens: W word pieces and T frames.

    Attributes:
        words: The W word pieces as the caption writes them, see
            ``TokenizeText.name_pieces``.
        weights: Shape (W,), textual attention: 1, more for a key word.
        cosines: Shape (W, T), cosine of each word piece with each frame.
        sentence: Shape (T,), cosine of the whole caption with each frame.
        score: The similarity that the model ranks by.
        parts: What adds up to the score, by name, in the order in which it
            is shown. A single ``similarity`` if the head has no parts.
        word_masking: What TPM-CL would mask of the words; None without it.
        frame_masking: Likewise of the frames.
    """

    words: tuple[str, ...]
    weights: np.ndarray
    cosines: np.ndarray
    sentence: np.ndarray
    score: float
    parts: Mapping[str, float]
    word_masking: Masking | None = None
    frame_masking: Masking | None = None

    @property
    def shares(self) -> np.ndarray:
        """Part of each word in the weighted mean over the best frames, (W,).

        They add up to that mean.
        """
        best = self.cosines.max(1, initial=-1.0)
        return best * self.weights / max(self.weights.sum(), 1e-12)

    @property
    def best_frames(self) -> np.ndarray:
        """Number of the frame that each word looks most like, (W,)."""
        return self.cosines.argmax(1)
