"""Pieces of video files: a clip of some seconds, an image as a video."""

import os
from fractions import Fraction
from pathlib import Path

import numpy as np

from mmtvr.errors import SetupError
from mmtvr.files import atomic_path
from mmtvr.video.opening import name_failures

# A video reader needs an end; one frame would be an image.
STILL_FRAMES = 2
FALLBACK = '.mkv'


def cut_clip(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    start: float,
    end: float,
) -> Path:
    """Copy some seconds of a file, with sound, without encoding it again.

    It begins at the last keyframe that is not after ``start``.

    Args:
        source: The video file.
        target: Where the clip goes; with the ending of Matroska where its
            own container does not take what is in the file.
        start: First second.
        end: Last second.

    Returns:
        Where the clip is.

    Raises:
        UnreadableVideoError: The file cannot be read.
    """
    target = Path(target)
    with name_failures(os.fspath(source)):
        try:
            return _copy(source, target, start, end)
        except ValueError:
            # This container takes no such codec.
            return _copy(source, target.with_suffix(FALLBACK), start, end)


def _copy(
    source: str | os.PathLike[str], target: Path, start: float, end: float
) -> Path:
    import av

    with (
        av.open(os.fspath(source)) as old,
        atomic_path(target) as partial,
        av.open(str(partial), 'w', format=_muxer(target)) as new,
    ):
        video = old.streams.video[0]
        chosen = [video, *old.streams.audio[:1]]
        streams = {
            each.index: new.add_stream_from_template(each) for each in chosen
        }
        first = (video.start_time or 0) * video.time_base
        begin = int((Fraction(start) + first) / video.time_base)
        old.seek(begin, stream=video, backward=True)
        packets: list[av.Packet] = []
        shift: Fraction | None = None
        for packet in old.demux(chosen):
            if packet.dts is None or packet.pts is None:
                continue
            time = packet.pts * packet.time_base
            is_video = packet.stream is video
            if is_video and time - first > end:
                break
            if (
                is_video
                and packet.is_keyframe
                and (shift is None or time - first <= start)
            ):
                # Seeking may have gone back further than it had to.
                packets, shift = [], time
            if shift is not None and shift <= time <= first + Fraction(end):
                packets.append(packet)
        for packet in packets:
            offset = int(shift / packet.time_base)
            packet.pts -= offset
            packet.dts -= offset
            packet.stream = streams[packet.stream.index]
            new.mux(packet)
    return target


def _muxer(target: Path) -> str:
    names = {'.mkv': 'matroska', '.webm': 'webm', '.mov': 'mov'}
    return names.get(target.suffix.lower(), 'mp4')


def is_image(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a picture that does not move."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return getattr(image, 'n_frames', 1) == 1
    except (UnidentifiedImageError, OSError, ValueError):
        return False


def image_to_video(
    path: str | os.PathLike[str], target: str | os.PathLike[str]
) -> None:
    """Write an image as a video of a few equal frames, without loss.

    Args:
        path: The image.
        target: The video, which ends in ``.mkv``.

    Raises:
        SetupError: The image cannot be read.
    """
    import av
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            picture = ImageOps.exif_transpose(image).convert('RGB')
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise SetupError(f'{path} is no readable image: {error}') from error
    pixels = np.asarray(picture)
    with av.open(os.fspath(target), 'w', format='matroska') as new:
        stream = new.add_stream('ffv1', rate=1)
        stream.width, stream.height = picture.size
        stream.pix_fmt = 'bgr0'
        stream.codec_context.gop_size = 1
        for number in range(STILL_FRAMES):
            frame = av.VideoFrame.from_ndarray(pixels, format='rgb24')
            frame.pts = number
            new.mux(stream.encode(frame))
        new.mux(stream.encode())
