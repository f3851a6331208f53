"""Frames and facts of a video as the files of a cache entry."""

import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import xxhash

from mmtvr.video.cache.jpeg import encode_jpeg
from mmtvr.video.cache.shard import BLOCK, Member, padded

#: Where bytes lie in an entry: from where, how many, and their checksum.
Part = tuple[int, int, int]


def make_members(
    facts: Mapping[str, Any],
    frames: np.ndarray,
    times: np.ndarray | None = None,
    quality: int | None = None,
) -> list[Member]:
    """Turn frames into the files of an entry, readable by any tool.

    Args:
        facts: What else is known of the video and was asked for; JSON.
        frames: Shape (T, H, W, 3), uint8.
        times: Shape (number of frames of the video,), seconds, if known.
        quality: JPEG quality, 1 to 100; None keeps the pixels.

    Returns:
        ``.npy`` with the frames or one ``.NNN.jpg`` per frame, ``.times.npy``
        and, the last, ``.json``: the facts and, as ``frames`` and ``times``,
        the :data:`Part` of each array.
    """
    files = _Files()
    if quality is None:
        places = _add_raw(files, frames)
    else:
        places = _add_pictures(files, frames, quality)
    content = dict(facts, shape=list(frames.shape[1:]), frames=places)
    if times is not None:
        times = np.ascontiguousarray(times, np.float64)
        begin = files.add('.times.npy', _npy_header(times), times)
        content['times'] = _part(begin, times)
    files.add('.json', json.dumps(content, default=repr).encode())
    return files.members


def request_key(request: Mapping[str, Any]) -> bytes:
    """Make the key of an entry from all that its content depends on.

    Args:
        request: JSON, in any order.

    Returns:
        16 bytes.
    """
    text = json.dumps(request, sort_keys=True, default=repr)
    return xxhash.xxh3_128_digest(text.encode())


class _Files:
    """Members in the order in which they are to lie in the tar file."""

    def __init__(self) -> None:
        self.members: list[Member] = []
        self._end = 0

    def add(self, suffix: str, *chunks: bytes | np.ndarray) -> int:
        """Add a file and tell where its last chunk begins in the entry."""
        member = Member(suffix, chunks)
        self.members.append(member)
        begin = self._end + BLOCK
        self._end = begin + padded(member.size)
        return begin + member.size - memoryview(chunks[-1]).nbytes


def _add_raw(files: _Files, frames: np.ndarray) -> list[Part]:
    frames = np.ascontiguousarray(frames)
    begin = files.add('.npy', _npy_header(frames), frames)
    return [
        _part(begin + number * frame.nbytes, frame)
        for number, frame in enumerate(frames)
    ]


def _add_pictures(
    files: _Files, frames: np.ndarray, quality: int
) -> list[Part]:
    places = []
    for number, frame in enumerate(frames):
        picture = encode_jpeg(frame, quality)
        begin = files.add(f'.{number:03d}.jpg', picture)
        places.append(_part(begin, picture))
    return places


def _part(begin: int, content: np.ndarray) -> Part:
    return begin, content.nbytes, xxhash.xxh3_64_intdigest(content)


def _npy_header(array: np.ndarray) -> bytes:
    """What stands before the numbers in a .npy file; never a pickle."""
    header = io.BytesIO()
    facts = np.lib.format.header_data_from_array_1_0(array)
    np.lib.format.write_array_header_1_0(header, facts)
    return header.getvalue()
