"""Which readers of video files work here, and what they decode."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from mmtvr.doctor.checks import OPTIONAL_READERS
from mmtvr.doctor.clips import brightness, write_clips
from mmtvr.doctor.finding import Finding

NAME = 'decoders'
# What the reader of reader='auto' must read for mmtvr to be of use.
ESSENTIAL = {'h264', 'mpeg4'}
MAIN = 'AutoReader'
SHOWN = (3, 8)
TOLERANCE = 12


def check_reader(name: str) -> list[Finding]:
    """Let a reader decode a clip in each format.

    Args:
        name: A class of :mod:`mmtvr.video`.

    Returns:
        One finding: what it reads and what not.
    """
    from mmtvr import video
    from mmtvr.errors import SetupError

    # Decoders complain of what they cannot read below Python.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    reads, fails, untried = [], [], []
    try:
        with tempfile.TemporaryDirectory() as folder:
            for codec, clip in write_clips(Path(folder)):
                if clip is None:
                    untried.append(codec)
                elif decodes(getattr(video, name), clip):
                    reads.append(codec)
                else:
                    fails.append(codec)
    except SetupError as error:
        return [_not_installed(name, str(error))]
    return [judge(name, reads, fails, untried)]


def decodes(reader: type, clip: Path) -> bool:
    """Whether a reader finds the right frames of a clip.

    Args:
        reader: The class.
        clip: A clip of :func:`mmtvr.doctor.clips.write_clips`.

    Returns:
        True if they are as bright as they should be.

    Raises:
        SetupError: From the reader, if its package is not installed.
    """
    from mmtvr.errors import SetupError

    try:
        with reader(clip) as video:
            frames = video.get_frames(SHOWN)
    except SetupError:
        raise
    except Exception:
        return False
    levels = frames.reshape(len(SHOWN), -1).mean(axis=1)
    return all(
        abs(level - brightness(number)) < TOLERANCE
        for level, number in zip(levels, SHOWN, strict=True)
    )


def judge(
    name: str,
    reads: Sequence[str],
    fails: Sequence[str],
    untried: Sequence[str],
) -> Finding:
    """Weigh what a reader can do.

    Args:
        name: The reader.
        reads: Formats that it decodes.
        fails: Formats that it does not.
        untried: Formats in which no clip could be made.

    Returns:
        The finding; only ``reader='auto'``, the default, can be a fault.
    """
    text = f'reads {", ".join(reads) or "nothing"}'
    text += f'; not {", ".join(fails)}' if fails else ''
    text += f'; not tried {", ".join(untried)}' if untried else ''
    severity, way_out = 'ok', ''
    if name == MAIN and (fails or not reads):
        broken = not reads or ESSENTIAL & set(fails)
        severity = 'error' if broken else 'warning'
        way_out = (
            'pip install --force-reinstall -c requirements/lock.txt av; or '
            "turn such files into h264: mmtvr's tools/data/compress.py"
        )
    elif fails and name != MAIN:
        way_out = "reader='auto' takes another reader for the rest"
    return Finding(NAME, name, severity, text, way_out)


def _not_installed(name: str, reason: str) -> Finding:
    if name in OPTIONAL_READERS:
        return Finding(NAME, name, 'ok', 'not installed; it is optional')
    severity = 'error' if name == MAIN else 'warning'
    text, _, way_out = reason.partition(': ')
    return Finding(NAME, name, severity, text, way_out)
