"""Opening video files with PyAV."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from mmtvr.video.frames import Orientation
from mmtvr.video.mp4 import find_unsupported_edit
from mmtvr.video.reader import UnreadableVideoError

# No decoder has this name, so that FFmpeg tries none.
WITHOUT_DECODERS = dict(codec_whitelist='none')
# FFmpeg's own words stand for files of another kind and for damaged ones.
UNDECODABLE = (
    'it is no video, or damaged (FFmpeg: Invalid data found when processing '
    'input)'
)


def open_video(path: str, probe_decoder: bool = True) -> tuple[Any, Any]:
    """Open a file and find its video.

    Images that only decorate, as the cover of a song, are no video. The
    decoder gets one thread: data loading has its own processes, and threads
    of a decoder that is left early can wait for ever.

    Args:
        path: The video file.
        probe_decoder: Have FFmpeg decode the first frames, often more than
            seven, to find out what the container does not say. False: the
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

    # Titles that are not UTF-8: PyAV 19 takes them, older ones on demand.
    is_old = int(av.__version__.split('.')[0]) < 19
    with name_failures(path):
        container = av.open(
            # FFmpeg takes the name a:b.mp4 for an address.
            os.path.abspath(path),
            **(dict(metadata_errors='ignore') if is_old else {}),
            options={} if probe_decoder else WITHOUT_DECODERS,
        )
        try:
            if not probe_decoder and len(container.streams.video) > 1:
                container.close()
                return open_video(path)
            stream = _find_best(container)
            if stream is None:
                raise UnreadableVideoError(f'{path}: it holds no video')
            if stream.codec_context is None:
                raise UnreadableVideoError(f'{path}: its format is unknown')
            if container.format.name.startswith('mov,'):
                reason = find_unsupported_edit(path, stream.id)
                if reason is not None:
                    raise UnreadableVideoError(f'{path}: {reason}')
            _discard_others(container, stream)
            stream.codec_context.thread_count = 1
        except BaseException:
            container.close()
            raise
    return container, stream


@contextmanager
def name_failures(path: str) -> Iterator[None]:
    """Turn what PyAV raises into the error that names the file.

    Raises:
        UnreadableVideoError: For an error inside the block.
    """
    import av

    try:
        yield
    except UnreadableVideoError:
        raise
    except av.InvalidDataError as error:
        raise UnreadableVideoError(f'{path}: {UNDECODABLE}') from error
    # PyAV's errors are built-in ones too; a decoder that gives nonsense
    # raises others, as that of a frame without pixels.
    except (av.FFmpegError, OSError, ValueError, MemoryError) as error:
        reason = getattr(error, 'strerror', None) or str(error)
        raise UnreadableVideoError(f'{path}: {reason}') from error


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


def _discard_others(container: Any, stream: Any) -> None:
    """Spare the demuxer what is not video."""
    from av.stream import Discard

    for other in container.streams:
        if other.index != stream.index:
            other.discard = Discard.all


class Header(NamedTuple):
    """What decord does not report of the best video stream of a file.

    Attributes:
        codec: FFmpeg's name of the format, as ``'h264'``.
        rotation: Degrees, anticlockwise, to turn frames before showing them:
            0, 90, 180 or -90.
    """

    codec: str
    rotation: int


def read_header(path: str) -> Header:
    """Read the header of a file and its first frame.

    Raises:
        UnreadableVideoError: If it is no video.
    """
    container, stream = open_video(path)
    with container, name_failures(path):
        frame = next(container.decode(stream), None)
        orientation = Orientation()
        if frame is not None:
            orientation = Orientation.of_frame(frame)
        codec = stream.codec_context.codec.canonical_name
        return Header(codec, orientation.degrees)


def read_times(path: str) -> np.ndarray:
    """Read when the frames of a file are shown, without decoding them.

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
