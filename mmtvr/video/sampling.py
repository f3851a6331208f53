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
