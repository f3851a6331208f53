"""Tiny videos in the formats that people have, made on the spot."""

from collections.abc import Iterator
from pathlib import Path

# Format as FFmpeg calls it: encoders that write it, by preference, and a
# container that holds it.
CODECS = {
    'h264': (('libx264', 'libopenh264', 'h264'), 'mp4'),
    'hevc': (('libx265', 'hevc'), 'mp4'),
    'mpeg4': (('mpeg4',), 'avi'),
    'vp9': (('libvpx-vp9',), 'webm'),
    'av1': (('libsvtav1', 'libaom-av1', 'librav1e'), 'mp4'),
    'mpeg2video': (('mpeg2video',), 'mpg'),
    'wmv2': (('wmv2',), 'wmv'),
}
FRAMES = 12
SIZE = (128, 96)


def write_clips(folder: Path) -> Iterator[tuple[str, Path | None]]:
    """Write a clip per format: grey, brighter from frame to frame.

    Args:
        folder: Where to.

    Yields:
        The format and the clip; None where this PyAV cannot write it.
    """
    for codec, (encoders, container) in CODECS.items():
        path = folder / f'{codec}.{container}'
        done = any(write_clip(path, encoder) for encoder in encoders)
        yield codec, path if done else None


def write_clip(path: Path, encoder: str) -> bool:
    """Write one clip.

    Args:
        path: The file.
        encoder: FFmpeg's name of the encoder.

    Returns:
        Whether it could be written.
    """
    import av
    import numpy as np

    av.logging.set_level(av.logging.FATAL)
    try:
        with av.open(str(path), 'w') as container:
            stream = container.add_stream(encoder, rate=25)
            stream.width, stream.height = SIZE
            stream.pix_fmt = 'yuv420p'
            for number in range(FRAMES):
                level = brightness(number)
                picture = np.full((SIZE[1], SIZE[0], 3), level, np.uint8)
                frame = av.VideoFrame.from_ndarray(picture, format='rgb24')
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    except (av.FFmpegError, ValueError):
        return False
    return True


def brightness(frame: int) -> int:
    """How bright a frame of a clip is.

    Args:
        frame: Its number.

    Returns:
        Grey level, 0 to 255.
    """
    return 40 + 14 * frame
