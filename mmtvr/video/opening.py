"""Opening a video file with PyAV."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from mmtvr.video.frames import Turn
from mmtvr.video.mp4 import why_not_followed
from mmtvr.video.reader import UnreadableVideoError

# No decoder has this name, so that FFmpeg tries none.
WITHOUT_DECODERS = dict(codec_whitelist='none')


def open_video(path: str, try_decoders: bool = True) -> tuple[Any, Any]:
    """Open a file and find its video.

    Pictures that only decorate, as the cover of a piece of music, are no
    video. The decoder gets one thread: data loading has its own processes,
    and threads of a decoder that is left early can wait for ever.

    Args:
        path: The video file.
        try_decoders: Have FFmpeg decode the first pictures, often more than
            seven, to find out what the container does not tell. False: the
            size is that of the container, and the order of display is what
            the settings of the stream say, which may both be wrong. A file
            with several videos is opened as if it were True, since they are
            compared by what was decoded.

    Returns:
        PyAV's container and the stream that FFmpeg takes for the best.

    Raises:
        UnreadableVideoError: If there is no video, or if it is edited in a
            way that FFmpeg does not follow.
    """
    import av

    with name_failures(path):
        container = av.open(
            # FFmpeg takes the name a:b.mp4 for an address.
            os.path.abspath(path),
            **_for_any_metadata(),
            options={} if try_decoders else WITHOUT_DECODERS,
        )
        try:
            if not try_decoders and len(container.streams.video) > 1:
                container.close()
                return open_video(path)
            stream = _find_best(container)
            if stream is None:
                raise UnreadableVideoError(f'{path}: it holds no video')
            if stream.codec_context is None:
                raise UnreadableVideoError(f'{path}: its format is unknown')
            _refuse_edits(container, stream, path)
            _leave_others(container, stream)
            stream.codec_context.thread_count = 1
        except BaseException:
            container.close()
            raise
    return container, stream


@contextmanager
def name_failures(path: str) -> Iterator[None]:
    """Turn what PyAV raises into the error that names the file.

    Args:
        path: The video file.

    Raises:
        UnreadableVideoError: For an error inside the block.
    """
    import av

    try:
        yield
    except UnreadableVideoError:
        raise
    # PyAV's errors are built-in ones too; a decoder that gives nonsense
    # raises others, as that of a picture without pixels.
    except (av.FFmpegError, OSError, ValueError, MemoryError) as error:
        reason = getattr(error, 'strerror', None) or str(error)
        raise UnreadableVideoError(f'{path}: {reason}') from error


def _for_any_metadata() -> dict[str, str]:
    """Titles that are no UTF-8: PyAV 19 takes them, older ones on demand."""
    import av

    old = int(av.__version__.split('.')[0]) < 19
    return dict(metadata_errors='ignore') if old else {}


def _refuse_edits(container: Any, stream: Any, path: str) -> None:
    if container.format.name.startswith('mov,'):
        reason = why_not_followed(path, stream.id)
        if reason is not None:
            raise UnreadableVideoError(f'{path}: {reason}')


def _find_best(container: Any) -> Any:
    """Choose as FFmpeg, which takes the first where no bit rate is known."""
    best = container.streams.best('video')
    videos = [s for s in container.streams.video if not _is_decoration(s)]
    if best in videos and (best.codec_context is None or best.bit_rate):
        return best
    return max(videos, key=_rank, default=None)


def _is_decoration(stream: Any) -> bool:
    from av.stream import Disposition

    kinds = Disposition.attached_pic | Disposition.timed_thumbnails
    return bool(stream.disposition & kinds)


def _rank(stream: Any) -> tuple[bool, int]:
    from av.stream import Disposition

    codec = stream.codec_context
    pixels = 0 if codec is None else codec.width * codec.height
    return bool(stream.disposition & Disposition.default), pixels


def _leave_others(container: Any, stream: Any) -> None:
    """Spare the demuxer what is not video."""
    from av.stream import Discard

    for other in container.streams:
        if other.index != stream.index:
            other.discard = Discard.all


class Header(NamedTuple):
    """Properties of the best video stream of a file.

    Attributes:
        codec: FFmpeg's name of the format of the pictures, as ``'h264'``.
        fps: Frames per second, on average; 0 where the file does not tell.
        rotation: Degrees, anticlockwise, to turn pictures before showing
            them: 0, 90, 180 or -90.
    """

    codec: str
    fps: float
    rotation: int


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
