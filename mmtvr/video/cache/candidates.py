"""Few frames of each segment that stand for all of it."""

import numpy as np


def spread_in_segments(bounds: np.ndarray, per_segment: int) -> np.ndarray:
    """Choose evenly spread frames of each segment.

    Of a segment of L frames, K = min(L, per_segment) are chosen: frame k is
    the one in the middle of the k-th of K equal parts. An odd number includes
    the centre of the segment.

    Args:
        bounds: Shape (N + 1,), int64; segment i holds the frames from
            bounds[i] to before bounds[i + 1].
        per_segment: At most so many of each.

    Returns:
        Ascending positions, int64.
    """
    every = np.arange(bounds[0], bounds[-1])
    return np.unique(snap_to_spread(every, bounds, per_segment))


def snap_to_spread(
    indices: np.ndarray, bounds: np.ndarray, per_segment: int
) -> np.ndarray:
    """Replace frames by those of :func:`spread_in_segments`.

    Each frame becomes the chosen one of the part in which it lies. Frames
    drawn uniformly thus become chosen ones drawn uniformly (to within one
    frame of a part), and a random generator is used as without it. Where
    every frame is chosen, nothing changes.

    Args:
        indices: Shape (T,), positions within the bounds.
        bounds: See :func:`spread_in_segments`.
        per_segment: At most so many of each segment.

    Returns:
        Shape (T,), int64.
    """
    segment = np.searchsorted(bounds, indices, side='right') - 1
    start = bounds[segment]
    length = bounds[segment + 1] - start
    count = np.minimum(length, per_segment)
    part = (indices - start) * count // length
    return start + (2 * part + 1) * length // (2 * count)
