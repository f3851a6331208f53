"""What a video file says of itself, for decoders that do not tell."""

from typing import NamedTuple

import numpy as np

from mmtvr.video.opening import name_failures, open_video
from mmtvr.video.pictures import Turn


class Header(NamedTuple):
    """Properties of the best video stream of a file.

    Attributes:
        codec: FFmpeg's name of the format of the pictures, as ``'h264'``.
        fps: Frames per second, on average; 0 where the file does not tell.
        rotation: Degrees, anticlockwise, to turn pictures before showing
            them: 0, 90, 180 or -90.
        is_first: Whether no other video stream comes before it.
    """

    codec: str
    fps: float
    rotation: int
    is_first: bool


def read_header(path: str) -> Header:
    """Read the head of a file and its first picture.

    Args:
        path: The video file.

    Returns:
        What they say.

    Raises:
        UnreadableVideoError: If it is no video.
    """
    container, stream = open_video(path)
    with container, name_failures(path):
        frame = next(container.decode(stream), None)
        turn = Turn() if frame is None else Turn.read(frame)
        return Header(
            stream.codec_context.codec.canonical_name,
            float(stream.average_rate or 0),
            turn.degrees,
            stream.index == container.streams.video[0].index,
        )


def read_times(path: str) -> np.ndarray:
    """Read when the pictures of a file are shown, without decoding them.

    Args:
        path: The video file.

    Returns:
        Shape (number of packets with a time,), ascending, seconds since the
        first.

    Raises:
        UnreadableVideoError: If it is no video.
    """
    container, stream = open_video(path)
    with container, name_failures(path):
        times = [
            float(packet.pts * packet.time_base)
            for packet in container.demux(stream)
            if packet.size and packet.pts is not None and not packet.is_discard
        ]
    return np.sort(times) - min(times, default=0)
