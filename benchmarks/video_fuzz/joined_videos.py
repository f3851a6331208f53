"""Kinds of files that consist of parts: settings that change, gaps in time."""

import io
import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import av

from benchmarks.video_fuzz.mp4_boxes import TABLES, change_box, find_box
from benchmarks.video_fuzz.stamped_videos import (
    HEIGHT,
    WIDTH,
    Encoding,
    add_video,
    encode,
)
from benchmarks.video_fuzz.video_kind import GOP12, SHARP, Kind

REPEATED = {**GOP12, 'x264-params': 'repeat-headers=1'}
HALVES = range(30), range(30, 60)


def _put(target: Any, stream: Any, source: Any, encoding: Encoding) -> None:
    for packet in encode(source, encoding):
        packet.stream = stream
        target.mux(packet)


def join(
    path: Path,
    codec: str,
    options: Sequence[dict[str, str]],
    small: tuple[int, int] = (128, 96),
    pause: int = 0,
) -> list[int]:
    """Write one stream from two encoders.

    Args:
        path: The file.
        codec: FFmpeg's encoder.
        options: Those of the first and of the second.
        small: Width and height of the second half.
        pause: How much later it is shown, in 1/25 s.

    Returns:
        The numbers of its frames.
    """
    later = range(30 + pause, 60 + pause)
    first, second = (
        Encoding(codec, options=o, size=size, numbers=half, ticks=ticks)
        for o, size, half, ticks in zip(
            options,
            ((WIDTH, HEIGHT), small),
            HALVES,
            (HALVES[0], later),
            strict=True,
        )
    )
    with av.open(str(path), 'w') as target:
        stream = add_video(target, first)
        _put(target, stream, stream, first)
        with av.open(io.BytesIO(), 'w', 'matroska') as other:
            _put(target, stream, add_video(other, second), second)
    return [*first.numbers, *second.numbers]


def two_descriptions(path: Path) -> list[int]:
    """An MP4 file with the settings of both halves at its head."""
    second = {**GOP12, 'bf': '0', 'refs': '1'}
    numbers = join(path, 'libx264', (GOP12, second), (WIDTH, HEIGHT))
    other = path.with_name(f'source-of-{path.name}')
    with av.open(str(other), 'w') as container:
        encoding = Encoding(options=second, numbers=range(1))
        stream = add_video(container, encoding)
        _put(container, stream, stream, encoding)
    entry = find_box(other.read_bytes(), (*TABLES, 'stsd'))[8:]
    other.unlink()
    data = path.read_bytes()
    sizes = struct.unpack_from('>60I', find_box(data, (*TABLES, 'stsz')), 12)
    place = struct.unpack_from('>I', find_box(data, (*TABLES, 'stco')), 8)[0]
    chunks = struct.pack('>2I6I', 0, 2, 1, 30, 1, 2, 30, 2)
    places = struct.pack('>2I2I', 0, 2, place, place + sum(sizes[:30]))
    for name, change in (
        ('stsd', lambda old: struct.pack('>2I', 0, 2) + old[8:] + entry),
        ('stsc', lambda old: chunks),
        ('stco', lambda old: places),
    ):
        data = change_box(data, (*TABLES, name), change)
    path.write_bytes(data)
    return numbers


def _transport(numbers: range, begin: int) -> bytes:
    part = io.BytesIO()
    ticks = range(begin, begin + len(numbers))
    encoding = Encoding(options=GOP12, numbers=numbers, ticks=ticks)
    with av.open(part, 'w', 'mpegts') as container:
        stream = add_video(container, encoding)
        _put(container, stream, stream, encoding)
    return part.getvalue()


def transport(*begins: int) -> Callable[[Path], list[int]]:
    """Describe a transport stream of parts, one behind the other.

    Args:
        *begins: When each begins, in 1/25 s.

    Returns:
        What writes it and returns the numbers of its frames.
    """

    def make(path: Path) -> list[int]:
        each = 60 // len(begins)
        parts = [
            _transport(range(each * i, each * (i + 1)), begin)
            for i, begin in enumerate(begins)
        ]
        path.write_bytes(b''.join(parts))
        return list(range(60))

    return make


def _changes() -> Iterator[Kind]:
    hevc = {'x265-params': 'keyint=12:crf=18:repeat-headers=1'}
    mpeg2 = {**SHARP, 'bf': '2'}
    for name, file, codec, options in (
        ('H.264, size changes', 'h264_size.mkv', 'libx264', REPEATED),
        ('H.264, size changes', 'h264_size.mp4', 'libx264', REPEATED),
        ('HEVC, size changes', 'hevc_size.mkv', 'libx265', hevc),
        ('HEVC, size changes', 'hevc_size.mp4', 'libx265', hevc),
        ('VP9, size changes', 'vp9_size.webm', 'libvpx-vp9', {'b': '2M'}),
        ('MPEG-2, size changes', 'mpeg2_size.mpg', 'mpeg2video', mpeg2),
        ('MPEG-2, size changes', 'mpeg2_size.ts', 'mpeg2video', mpeg2),
    ):
        yield Kind(
            name,
            file,
            lambda path, codec=codec, options=options: join(
                path, codec, (options, options)
            ),
        )


# 2 ** 33 ticks of 90 kHz, after which the clock of a transport stream begins
# anew, are a little more than this many frames.
CLOCK = 2**33 // 3600
JOINED_KINDS = [
    *_changes(),
    Kind('H.264, settings change', 'two_settings.mp4', two_descriptions),
    Kind('H.264, time begins anew', 'h264_anew.ts', transport(0, 0)),
    Kind('H.264, time jumps ahead', 'h264_ahead.ts', transport(0, 90000)),
    Kind('H.264, time jumps back', 'h264_back.ts', transport(250, 30)),
    Kind('H.264, clock overflows', 'h264_clock.ts', transport(CLOCK - 30)),
]
