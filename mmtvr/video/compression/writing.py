"""Frames into a video file."""

from collections.abc import Iterable
from fractions import Fraction

import numpy as np

#: Fine enough for any frame rate, and exact for the usual ones.
TICKS = 90000

SKIPPABLE = {'bf': '3', 'x264-params': 'b-adapt=0:b-pyramid=none:open-gop=0'}
IN_ORDER = {'bf': '0'}


def write_h264(
    path: str,
    frames: Iterable[np.ndarray],
    size: tuple[int, int],
    times: np.ndarray,
    durations: np.ndarray,
    crf: int,
) -> None:
    """Encode frames as H.264 in mp4, without sound.

    At a steady rate, to three of four frames no other refers as long as a
    scene lasts: who reads single frames can leave these out. Groups of
    pictures are closed, so jumping decoders do not lose count.

    Args:
        path: The file, whatever its name ends in.
        frames: T arrays (H, W, 3), uint8, RGB.
        size: Height and width to give them, both even.
        times: Shape (T,), seconds from 0.
        durations: Shape (T,), seconds.
        crf: Constant rate factor of x264, 0 (lossless) to 51.
    """
    import av

    ticks = np.round(times * TICKS).astype(int).tolist()
    ends = np.round((times + durations) * TICKS).astype(int).tolist()
    lasting = [end - at for at, end in zip(ticks, ends, strict=True)]
    # In mp4 a frame lasts until the next one is decoded, so that the order
    # must not change where that matters.
    steady = max(lasting[:-1], default=0) - min(lasting[:-1], default=0) <= 1
    order = SKIPPABLE if steady else IN_ORDER
    spans = iter(lasting)
    options = dict(movflags='faststart')
    with av.open(path, 'w', format='mp4', options=options) as container:
        stream = container.add_stream('libx264', rate=25)
        stream.height, stream.width = size
        stream.pix_fmt = 'yuv420p'
        stream.options = {'crf': str(crf), **order}
        context = stream.codec_context
        context.time_base = Fraction(1, TICKS)
        context.thread_count = 1

        def write(frame: 'av.VideoFrame | None') -> None:
            for packet in stream.encode(frame):
                # Only the encoder knows the time base, and it forgets how
                # long the last frame lasts.
                packet.duration = next(spans)
                container.mux(packet)

        for array, at in zip(frames, ticks, strict=True):
            frame = av.VideoFrame.from_ndarray(array, format='rgb24')
            frame = frame.reformat(
                size[1], size[0], 'yuv420p', interpolation='BICUBIC'
            )
            frame.pts, frame.time_base = at, context.time_base
            write(frame)
        write(None)
