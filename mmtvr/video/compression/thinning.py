"""Which frames of a video stay when it is brought to fewer per second."""

from typing import NamedTuple

import numpy as np

#: Time stamps of containers are rounded, to as much as a millisecond.
ROUNDING = 1e-3
USUAL_FPS = 25.0


class Thinned(NamedTuple):
    """Frames that stay, and when they are shown.

    Attributes:
        indices: Shape (T,), int64, ascending positions in the source.
        times: Shape (T,), seconds since the first.
        durations: Shape (T,), seconds.
    """

    indices: np.ndarray
    times: np.ndarray
    durations: np.ndarray

    @property
    def length(self) -> float:
        """Seconds from the first frame to the end of the last."""
        return float(self.times[-1] + self.durations[-1])


def frame_durations(times: np.ndarray, fps: float) -> np.ndarray:
    """Tell how long each frame of a video is shown.

    Args:
        times: Shape (count,), ascending seconds.
        fps: Frames per second, for a video of one frame; 0 if unknown.

    Returns:
        Shape (count,), seconds; the last is shown as long as is usual.
    """
    gaps = np.diff(times)
    if not len(gaps):
        return np.array([1 / (fps or USUAL_FPS)])
    return np.append(gaps, np.median(gaps))


def thin_out(
    times: np.ndarray, durations: np.ndarray, fps: float | None
) -> Thinned:
    """Choose the frames that are shown at regular times.

    Output frame k is the one that the source shows at k / fps. A source that
    has no more frames per second than that keeps all of them at their times.

    Args:
        times: Shape (count,), ascending seconds from 0.
        durations: See :func:`frame_durations`.
        fps: Frames per second to bring it to; None keeps all.

    Returns:
        The frames that stay.
    """
    every = np.arange(len(times))
    length = times[-1] + durations[-1]
    if fps is None or len(times) <= length * fps + ROUNDING:
        return Thinned(every, times, durations)
    count = max(1, int(np.ceil(length * fps - ROUNDING * fps)))
    at = np.arange(count) / fps
    indices = np.searchsorted(times, at + ROUNDING, side='right') - 1
    return Thinned(indices, at, np.full(count, 1 / fps))
