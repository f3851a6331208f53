"""What a video file says of itself."""

from typing import Any, NamedTuple

from mmtvr.video.reader import UnreadableVideoError


class Header(NamedTuple):
    """Properties of the best video stream of a file.

    Attributes:
        container: FFmpeg's name of the container, as
            ``'mov,mp4,m4a,3gp,3g2,mj2'``.
        codec: FFmpeg's name of the format of the pictures, as ``'h264'``.
        shape: Height and width as stored.
        fps: Frames per second, on average; 0 where the file does not tell.
        rotation: Degrees, anticlockwise, to turn pictures before showing
            them: 0, 90, 180 or -90.
    """

    container: str
    codec: str
    shape: tuple[int, int]
    fps: float
    rotation: int


def read_header(path: str) -> Header:
    """Read the header of a file.

    Args:
        path: The video file.

    Returns:
        What it says.

    Raises:
        UnreadableVideoError: If it is no video.
    """
    import av

    try:
        with av.open(path) as container:
            stream = container.streams.best('video')
            if stream is None:
                raise UnreadableVideoError(f'{path}: it holds no video')
            frame = next(container.decode(stream), None)
            return Header(
                container.format.name,
                stream.codec_context.name,
                (stream.codec_context.height, stream.codec_context.width),
                float(stream.average_rate or 0),
                _rotation(frame),
            )
    except (av.FFmpegError, ValueError) as error:
        raise UnreadableVideoError(f'{path}: {error}') from error


def _rotation(frame: Any) -> int:
    return 0 if frame is None else frame.rotation
