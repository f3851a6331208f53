"""Video files with several streams, covers, sound, or a changing size."""

import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from benchmarks.video_fuzz.stamped_videos import (
    RATE,
    Encoding,
    add_video,
    encode,
)
from benchmarks.video_fuzz.video_kind import GOP12, SHARP

FOREIGN = range(1000, 1060)
HEADER = b"""[Script Info]
[V4+ Styles]
Format: Name, Fontname, Fontsize
Style: Default,Arial,16
[Events]
Format: Layer, Start, End, Style, Text
"""


def two_streams(path: Path) -> list[int]:
    """The best stream second, behind a small one with other numbers."""
    from av.stream import Disposition

    small = Encoding(
        options={**GOP12, 'crf': '40'},
        size=(96, 80),
        numbers=FOREIGN,
    )
    best = Encoding(options=GOP12)
    with av.open(str(path), 'w') as container:
        pairs = [(add_video(container, e), e) for e in (small, best)]
        pairs[0][0].disposition = Disposition(0)
        pairs[1][0].disposition = Disposition.default
        for stream, encoding in pairs:
            for packet in encode(stream, encoding):
                container.mux(packet)
    return list(best.numbers)


def two_programs(path: Path) -> list[int]:
    """The larger of two streams second, where no bit rate is told."""
    sharp = {**SHARP, 'bf': '2'}
    encodings = [
        Encoding('mpeg2video', options=sharp, size=(96, 80), numbers=FOREIGN),
        Encoding('mpeg2video', options=sharp),
    ]
    with av.open(str(path), 'w') as container:
        packets = [
            encode(add_video(container, encoding), encoding)
            for encoding in encodings
        ]
        for pair in zip(*packets, strict=True):
            for packet in pair:
                container.mux(packet)
    return list(encodings[1].numbers)


def timecode_and_text(path: Path) -> list[int]:
    """Subtitles are the first track, and a time code is one more."""
    encoding = Encoding(options=GOP12)
    with av.open(str(path), 'w') as container:
        text = container.add_stream('mov_text')
        text.codec_context.subtitle_header = HEADER
        stream = add_video(container, encoding)
        stream.metadata['timecode'] = '01:00:00:00'
        line = av.Packet(b'\0\4text')
        line.stream, line.time_base = text, Fraction(1, RATE)
        line.pts, line.dts, line.duration = 0, 0, 60
        packets = [line, *encode(stream, encoding)]
        for packet in packets:
            container.mux(packet)
    return list(encoding.numbers)


def sound_first(path: Path) -> list[int]:
    """Sound is the first stream."""
    encoding = Encoding(options=GOP12)
    with av.open(str(path), 'w') as container:
        sound = container.add_stream('aac', rate=16000)
        stream = add_video(container, encoding)
        _mux_sound(container, sound)
        for packet in encode(stream, encoding):
            container.mux(packet)
    return list(encoding.numbers)


def _mux_sound(container: Any, sound: Any, seconds: float = 2.4) -> None:
    samples = np.zeros((1, int(16000 * seconds)), np.float32)
    frame = av.AudioFrame.from_ndarray(samples, 'fltp', 'mono')
    frame.sample_rate, frame.pts = 16000, 0
    fifo = av.AudioFifo()
    fifo.write(frame)
    for part in fifo.read_many(1024, partial=True):
        container.mux(sound.encode(part))
    container.mux(sound.encode())


def sound_only(path: Path) -> list[int]:
    """No picture at all."""
    with av.open(str(path), 'w') as container:
        _mux_sound(container, container.add_stream('aac', rate=16000))
    return []


def cover(path: Path, with_video: bool) -> list[int]:
    """A picture beside the video, or beside sound alone."""
    from av.stream import Disposition

    encoding = Encoding(options=GOP12)
    picture = Encoding('mjpeg', 'yuvj420p', size=(640, 480), numbers=[999])
    with av.open(str(path), 'w') as container:
        streams = []
        if with_video:
            streams.append((add_video(container, encoding), encoding))
        else:
            sound = container.add_stream('aac', rate=16000)
        streams.append((add_video(container, picture), picture))
        streams[-1][0].disposition = Disposition.attached_pic
        if not with_video:
            _mux_sound(container, sound)
        for stream, what in streams:
            for packet in encode(stream, what):
                container.mux(packet)
    return list(encoding.numbers) if with_video else []


def change_of_size(path: Path) -> list[int]:
    """Two encodings, one behind the other, as a recorder leaves them."""
    parts = []
    for numbers, size in ((range(30), (176, 144)), (range(30, 60), (128, 96))):
        part = io.BytesIO()
        first = numbers[0]
        encoding = Encoding(
            options=GOP12,
            size=size,
            numbers=numbers,
            ticks=range(first, first + 30),
        )
        with av.open(part, 'w', 'mpegts') as container:
            stream = add_video(container, encoding)
            for packet in encode(stream, encoding):
                container.mux(packet)
        parts.append(part.getvalue())
    path.write_bytes(b''.join(parts))
    return list(range(60))
