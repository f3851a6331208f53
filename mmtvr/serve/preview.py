"""A short video that every browser plays, of one that it does not."""

from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np

SECONDS, LEAD = 10.0, 1.0
RATE = 15.0
OPTIONS = dict(crf='26', preset='veryfast', movflags='+faststart')


class Preview(NamedTuple):
    """Which frames a preview shows.

    Attributes:
        indices: Shape (N,), int64, ascending, at least one.
        rate: Frames per second.
    """

    indices: np.ndarray
    rate: float


def preview_start(moment: float) -> float:
    """Where the preview of a moment begins.

    Args:
        moment: Seconds.

    Returns:
        Seconds.
    """
    return max(0.0, moment - LEAD)


def choose_preview(times: np.ndarray, moment: float) -> Preview:
    """Choose frames around a moment.

    Args:
        times: Shape (T,), seconds of all frames, ascending.
        moment: Seconds.

    Returns:
        Frames of ``SECONDS`` from a little before the moment on, at ``RATE``
        frames a second or as many as there are.
    """
    start = preview_start(moment)
    wanted = start + np.arange(SECONDS * RATE) / RATE
    last = times[-1] + (times[-1] - times[0]) / max(1, len(times) - 1)
    wanted = wanted[wanted < max(last, start + 1 / RATE)]
    at = np.searchsorted(times, wanted + 1e-3) - 1
    indices = np.unique(at.clip(0))
    return Preview(indices, len(indices) / (len(wanted) / RATE))


def write_preview(path: Path, frames: np.ndarray, rate: float) -> None:
    """Encode frames as H.264 in MP4.

    Args:
        path: The file.
        frames: Shape (N, H, W, 3), uint8, RGB.
        rate: Frames per second.
    """
    import av

    height, width = (side // 2 * 2 for side in frames.shape[1:3])
    with av.open(str(path), 'w', format='mp4') as container:
        steps = Fraction(rate).limit_denominator(1000)
        stream = container.add_stream('libx264', rate=steps)
        stream.width, stream.height = max(2, width), max(2, height)
        stream.pix_fmt = 'yuv420p'
        stream.options = OPTIONS
        for frame in frames:
            even = np.ascontiguousarray(frame[:height, :width])
            picture = av.VideoFrame.from_ndarray(even, format='rgb24')
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
