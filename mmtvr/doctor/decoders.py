"""Which readers of video files work here, and what they decode."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from mmtvr.doctor.findings import Finding

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
# What reader='auto' must read for mmtvr to be of use.
ESSENTIAL = {'h264', 'mpeg4'}
MAIN, OPTIONAL = 'AutoReader', ('TorchCodecReader',)
NUM_FRAMES, SIZE = 12, (128, 96)
READ, TOLERANCE = (3, 8), 12


def check_reader(name: str) -> list[Finding]:
    """Let a reader, a class of :mod:`mmtvr.video`, decode each format."""
    from mmtvr import video
    from mmtvr.errors import SetupError

    # Decoders write about what they cannot read to the file descriptor.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    reads, fails, untried = [], [], []
    try:
        with tempfile.TemporaryDirectory() as folder:
            for codec, clip in _write_clips(Path(folder)):
                if clip is None:
                    untried.append(codec)
                elif decodes(getattr(video, name), clip):
                    reads.append(codec)
                else:
                    fails.append(codec)
    except SetupError as error:
        return [_not_installed(name, str(error))]
    return [judge(name, reads, fails, untried)]


def _write_clips(folder: Path) -> Iterator[tuple[str, Path | None]]:
    """Yield format and clip; None where this PyAV cannot write it."""
    for codec, (encoders, container) in CODECS.items():
        path = folder / f'{codec}.{container}'
        done = any(write_clip(path, encoder) for encoder in encoders)
        yield codec, path if done else None


def write_clip(path: Path, encoder: str) -> bool:
    """Write a grey clip, brighter with every frame; False if impossible."""
    import av
    import numpy as np

    av.logging.set_level(av.logging.FATAL)
    try:
        with av.open(str(path), 'w') as container:
            stream = container.add_stream(encoder, rate=25)
            stream.width, stream.height = SIZE
            stream.pix_fmt = 'yuv420p'
            for number in range(NUM_FRAMES):
                level = brightness(number)
                image = np.full((SIZE[1], SIZE[0], 3), level, np.uint8)
                frame = av.VideoFrame.from_ndarray(image, format='rgb24')
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    except (av.FFmpegError, ValueError):
        return False
    return True


def brightness(frame: int) -> int:
    """Grey level, 0 to 255, of a frame of a clip."""
    return 40 + 14 * frame


def decodes(reader: type, clip: Path) -> bool:
    """Whether a reader finds the right frames of a clip.

    Raises:
        SetupError: From the reader, if its package is not installed.
    """
    from mmtvr.errors import SetupError

    try:
        with reader(clip) as video:
            frames = video.get_frames(READ)
    except SetupError:
        raise
    except Exception:
        return False
    levels = frames.reshape(len(READ), -1).mean(axis=1)
    return all(
        abs(level - brightness(number)) < TOLERANCE
        for level, number in zip(levels, READ, strict=True)
    )


def judge(
    name: str,
    reads: Sequence[str],
    fails: Sequence[str],
    untried: Sequence[str],
) -> Finding:
    """Report the formats that a reader decodes, fails at, and was not given.

    Only a failure of ``reader='auto'``, the default, is a warning or an error.
    """
    text = f'reads {", ".join(reads) or "nothing"}'
    text += f'; not {", ".join(fails)}' if fails else ''
    text += f'; not tried {", ".join(untried)}' if untried else ''
    severity, fix = 'ok', ''
    if name == MAIN and (fails or not reads):
        broken = not reads or ESSENTIAL & set(fails)
        severity = 'error' if broken else 'warning'
        fix = (
            'pip install --force-reinstall -c requirements/lock.txt av; or '
            "turn such files into h264: mmtvr's tools/data/compress.py"
        )
    elif fails and name != MAIN:
        fix = "reader='auto' takes another reader for the rest"
    return Finding('decoders', name, severity, text, fix)


def _not_installed(name: str, reason: str) -> Finding:
    if name in OPTIONAL:
        text = 'not installed; it is optional'
        return Finding('decoders', name, 'ok', text)
    severity = 'error' if name == MAIN else 'warning'
    text, _, fix = reason.partition(': ')
    return Finding('decoders', name, severity, text, fix)
