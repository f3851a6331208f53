"""Clips inside a longer video."""

import numpy as np


def find_span(
    times: np.ndarray, start: float | None, end: float | None
) -> tuple[int, int]:
    """Find the frames shown from ``start`` to before ``end``.

    Args:
        times: Shape (total,), seconds since the first frame, ascending.
        start: Seconds; None: from the beginning.
        end: Seconds; None: to the end.

    Returns:
        The first frame, and the number of frames, at least one: a span
        between two frames gets the frame shown at its beginning.

    Raises:
        ValueError: If the span begins more than a second behind the last
            frame.
    """
    start = start or 0.0
    first = int(np.searchsorted(times, start))
    after = len(times) if end is None else int(np.searchsorted(times, end))
    if first < after:
        return first, after - first
    if first == len(times) and start > times[-1] + 1:
        raise ValueError(
            f'the span begins at {start} s, the last frame is at '
            f'{times[-1]:.2f} s'
        )
    return max(first - 1, 0), 1
