"""Which frames of a video are looked at."""

import numpy as np


def sample_uniformly(
    total: int, num_frames: int, random: bool = False
) -> np.ndarray:
    """Choose one frame out of each of N equally long segments.

    Segment i holds the frames j with i * total / N <= j < (i + 1) * total / N.
    The centre is the frame shown in its middle, (2 * i + 1) * total // (2 *
    N). A video with fewer than N frames repeats frames: all of them are the
    centres, there is nothing to draw.

    Args:
        total: Number of frames to choose from, at least 1.
        num_frames: Number of segments N.
        random: Draw each frame uniformly from its segment (numpy's global
            generator, which mmengine seeds in each worker) instead of taking
            the centre.

    Returns:
        Shape (num_frames,), int64, ascending positions from 0.
    """
    if random and total >= num_frames:
        bounds = segment_bounds(total, num_frames)
        return np.random.randint(bounds[:-1], bounds[1:])
    return (2 * np.arange(num_frames) + 1) * total // (2 * num_frames)


def segment_bounds(total: int, num_frames: int) -> np.ndarray:
    """Divide a video into N equally long segments.

    Args:
        total: Number of frames, at least N.
        num_frames: Number of segments N.

    Returns:
        Shape (num_frames + 1,), int64; segment i holds the frames from
        bounds[i] to before bounds[i + 1].
    """
    # Rounded up, in integers.
    return -(np.arange(num_frames + 1) * -total // num_frames)


def sample_per_second(
    times: np.ndarray, num_frames: int, fps: float = 1.0
) -> np.ndarray:
    """Choose one frame per tick of a clock, then thin them out.

    Tick k is at k / fps seconds from the first of ``times``; its frame is the
    one shown then, that is, the last whose time is not behind the tick. Ticks
    go on while they are before the end: the last time plus the median step. A
    tick that shows the frame of the tick before adds nothing. If more than
    ``num_frames`` are left, those at the positions ``linspace(0, n - 1,
    num_frames)``, rounded down, stay: the first and the last are among them.

    Args:
        times: Shape (total,), seconds, ascending, at least one.
        num_frames: Largest number of frames.
        fps: Ticks per second; 1 is what CLIP4Clip takes, 0.5 every other
            second.

    Returns:
        Shape (at most num_frames,), int64, ascending, positions in ``times``.
    """
    since = times - times[0]
    step = float(np.median(np.diff(since))) if len(since) > 1 else 0.0
    # A tick on the very time of a frame shows it, whatever was rounded.
    ticks = np.arange(max(1, np.ceil((since[-1] + step) * fps - 1e-6)))
    shown = np.searchsorted(since, ticks / fps + 1e-6, side='right') - 1
    shown = np.unique(shown)
    if len(shown) <= num_frames:
        return shown
    kept = np.linspace(0, len(shown) - 1, num_frames).astype(np.int64)
    return shown[kept]


def fill_up(
    indices: np.ndarray, num_frames: int, short_videos: str
) -> tuple[np.ndarray, np.ndarray]:
    """Make as many frames as asked out of fewer.

    Args:
        indices: Shape (n,), different positions, 1 <= n <= ``num_frames``.
        num_frames: How many there shall be.
        short_videos: ``'repeat'`` spreads repeats evenly, as
            :func:`sample_uniformly` does; ``'mask'`` puts padding behind.

    Returns:
        Shape (num_frames,), int64, the positions, that of the last frame for
        padding; and shape (num_frames,), bool, False for padding.
    """
    count = len(indices)
    if short_videos == 'repeat':
        chosen = indices[sample_uniformly(count, num_frames)]
        return chosen, np.ones(num_frames, dtype=bool)
    places = np.arange(num_frames)
    return indices[np.minimum(places, count - 1)], places < count


def find_duration(times: np.ndarray) -> float:
    """Seconds from the first frame to the end of the last.

    Args:
        times: Shape (total,), seconds of the frames, ascending. The last one
            is taken to be shown for the median step; one alone has no end.
    """
    step = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    return float(times[-1] - times[0]) + step


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
