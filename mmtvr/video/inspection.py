"""What a video file says and holds, without decoding all of it."""

from typing import Any, NamedTuple

import numpy as np

from mmtvr.video.animation_reader import find_kind, inspect_animation
from mmtvr.video.opening import name_failures, open_video

# A file of keyframes only has thousands; beyond this every second is left out.
MAX_KEYFRAMES = 40
PIXEL_STEP = 4


class Inspection(NamedTuple):
    """Facts about the best video stream of a file.

    Attributes:
        codec: FFmpeg's name of the format; '' if unknown.
        seconds: Length by the header; 0 where it does not say.
        fps: Frames per second on average; 0 where the file does not say.
        frames_reported: Number of frames by the header; 0 where it does not
            say.
        frames_held: Number of frames that are there.
        sizes: Each height and width that was met.
        brightness: Smallest and largest mean of a keyframe, 0 to 255.
        contrast: Largest standard deviation inside a keyframe.
        end: Why reading stopped before the end; '' if it did not.
    """

    codec: str
    seconds: float
    fps: float
    frames_reported: int
    frames_held: int
    sizes: list[tuple[int, int]]
    brightness: tuple[float, float]
    contrast: float
    end: str


def inspect_video(path: str) -> dict:
    """Look at all packets of a file, and decode some of its keyframes.

    Args:
        path: The video file.

    Returns:
        An :class:`Inspection` as a dict.

    Raises:
        UnreadableVideoError: If it is no video.
    """
    if find_kind(path):
        return inspect_animation(path)
    container, stream = open_video(path)
    with container, name_failures(path):
        return _inspect(container, stream)._asdict()


def _inspect(container: Any, stream: Any) -> Inspection:
    import av

    sampler, count, end = _KeyframeSampler(), 0, ''
    try:
        for packet in container.demux(stream):
            if packet.size and not packet.is_discard:
                count += 1
                sampler.take(packet)
    except av.FFmpegError as error:
        end = str(error)
    sampler.finish(stream)
    seconds = (container.duration or 0) / av.time_base
    if stream.duration:
        seconds = float(stream.duration * stream.time_base)
    return Inspection(
        codec=stream.codec_context.name,
        seconds=seconds,
        fps=float(stream.average_rate or 0),
        frames_reported=stream.frames,
        frames_held=count,
        sizes=sorted(sampler.sizes),
        brightness=(
            min(sampler.means, default=0),
            max(sampler.means, default=0),
        ),
        contrast=max(sampler.deviations, default=0.0),
        end=end,
    )


class _KeyframeSampler:
    """Decode keyframes, more and more sparsely."""

    def __init__(self) -> None:
        self.sizes: set[tuple[int, int]] = set()
        self.means: list[float] = []
        self.deviations: list[float] = []
        self._seen = self._decoded = 0
        self._step = 1

    def take(self, packet: Any) -> None:
        if not packet.is_keyframe:
            return
        if self._seen % self._step == 0:
            self._decode(packet.decode)
            self._decoded += 1
            if self._decoded >= MAX_KEYFRAMES:
                self._decoded, self._step = 0, 2 * self._step
        self._seen += 1

    def finish(self, stream: Any) -> None:
        if self._seen:
            self._decode(lambda: stream.codec_context.decode(None))

    def _decode(self, decode: Any) -> None:
        import av

        try:
            frames = decode()
        except av.FFmpegError:
            # Whether frames can be read is for the reader to say.
            return
        for frame in frames:
            self.sizes.add((frame.height, frame.width))
            grey = frame.to_ndarray(format='gray')
            part = grey[::PIXEL_STEP, ::PIXEL_STEP].astype(np.int32)
            self.means.append(round(float(part.mean()), 1))
            self.deviations.append(round(float(part.std()), 1))
