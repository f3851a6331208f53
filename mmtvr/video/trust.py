"""Whether single frames can be decoded without all the others."""

import numpy as np

from mmtvr.video.packets import UNKNOWN_TIME, PacketTable

# Shown exact against stamped files, see docs/video.md. A format that is not
# here is read in order, which is right for all of them.
CONTAINERS = ('mov,mp4,m4a,3gp,3g2,mj2', 'matroska,webm')
CODECS = ('h264', 'hevc', 'vp8', 'vp9')


def why_in_order(table: PacketTable) -> str | None:
    """Decide how to read a file, by its packets alone.

    A single frame can be decoded alone with the pictures that it refers to
    if each packet is one picture whose time is known, and if decoding can
    begin where the file says so. Whatever is unusual speaks against it.

    Args:
        table: The packets of a file.

    Returns:
        Why all frames must be decoded one after the other; None if not.
    """
    unknown = why_not_known(table.container, table.codec)
    if unknown is not None:
        return unknown
    if not table.inspected:
        return 'units without lengths'
    if not len(table.pts):
        return 'no packet'
    if table.odd.any():
        return 'an edit list, damage or new settings on the way'
    if not table.shown.all():
        return 'packets that are not one picture each'
    if not (table.key[0] and table.closed[0]):
        return 'no keyframe at the beginning'
    return _why_not_by_time(table) or _why_not_by_settings(table)


def why_not_known(container: str, codec: str) -> str | None:
    """Decide by the names of container and format alone.

    Args:
        container: FFmpeg's name.
        codec: FFmpeg's name.

    Returns:
        Why the packets need not be looked at; None if they must.
    """
    if container not in CONTAINERS:
        return f'container {container}'
    return None if codec in CODECS else f'codec {codec}'


def _why_not_by_time(table: PacketTable) -> str | None:
    if (table.pts == UNKNOWN_TIME).any():
        return 'pictures without a time'
    if len(np.unique(table.pts)) < len(table.pts):
        return 'two pictures at one time'
    known = table.dts[table.dts != UNKNOWN_TIME]
    if (np.diff(known) < 0).any():
        return 'packets out of order'
    return None


def _why_not_by_settings(table: PacketTable) -> str | None:
    """Settings that come on the way must come with every beginning."""
    carriers = table.parameters
    if carriers.any() and not (carriers == (table.key & table.closed)).all():
        return 'settings of the decoder on the way'
    return None


def find_beginnings(table: PacketTable) -> np.ndarray:
    """Find where decoding can begin, and end.

    Args:
        table: The packets of a file.

    Returns:
        Shape (N,), int64, ascending: the first packet, and every keyframe
        that divides the pictures in decoding order as it does in time.
    """
    before = np.maximum.accumulate(table.pts)
    behind = np.minimum.accumulate(table.pts[::-1])[::-1]
    clean = table.key & table.closed & (behind == table.pts)
    clean[1:] &= before[:-1] < table.pts[1:]
    clean[0] = True
    return np.flatnonzero(clean)
