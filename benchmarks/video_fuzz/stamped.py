"""Videos whose frames show their number, and what reads it back."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

WIDTH, HEIGHT, RATE = 176, 144, 25
BITS = 16
B_FRAMES = {'g': '250', 'bf': '3', 'crf': '18'}
GOP12 = {'g': '12', 'bf': '3', 'crf': '18'}
SHARP = {'qscale': '2', 'qmin': '2', 'qmax': '4', 'b': '4M'}
PATCHES = {
    'red': (255, 0, 0),
    'green': (0, 255, 0),
    'blue': (0, 0, 255),
    'white': (255, 255, 255),
    'grey': (128, 128, 128),
    'black': (0, 0, 0),
}


def draw(number: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Draw a frame, shape (height, width, 3), of a number below 65,536.

    The top eighth shows the number in blocks, most significant bit first,
    white for 1; the bottom eighth has patches of known colours; between them
    something moves.
    """
    bits = np.array([number >> bit & 1 for bit in range(BITS)][::-1])
    x = np.arange(width)
    band = height // 8
    across, down = np.meshgrid(x, np.arange(height))
    red = 128 + 90 * np.sin((across + 3 * number) / 9)
    green = 128 + 90 * np.cos((down - 2 * number) / 7)
    blue = 60 + (across + down) * 120 / (width + height)
    picture = np.stack([red, green, blue], -1).astype(np.uint8)
    picture[:band] = 255 * bits[x * BITS // width][:, None]
    colours = np.array(list(PATCHES.values()), np.uint8)
    picture[-band:] = colours[x * len(colours) // width]
    return picture


def read_stamp(picture: np.ndarray) -> int:
    """Read the number that a frame of any size shows."""
    height, width = picture.shape[:2]
    row = picture[height // 16].mean(axis=-1)
    places = ((np.arange(BITS) + 0.5) * width / BITS).astype(int)
    return int(
        ''.join('1' if row[place] > 127 else '0' for place in places), 2
    )


def colour_error(picture: np.ndarray) -> int:
    """Largest error of a colour patch, in levels of a channel."""
    height, width = picture.shape[:2]
    rows = slice(height - height // 12, height - height // 24)
    error = 0.0
    for place, colour in enumerate(PATCHES.values()):
        middle = int((place + 0.5) * width / len(PATCHES))
        reach = max(1, width // 60)
        patch = picture[rows, middle - reach : middle + reach]
        error = max(error, np.abs(patch.mean(axis=(0, 1)) - colour).max())
    return round(float(error))


@dataclass(frozen=True)
class Encoding:
    """How stamped frames become packets.

    Attributes:
        codec: FFmpeg's encoder.
        pix_fmt: Format of the pixels.
        options: Of the encoder.
        size: Width and height.
        turn: Degrees, clockwise, noted in the file.
        numbers: The frames, in the order in which they are shown.
        ticks: When each is shown, in 1/25 s; None: one after the other.
    """

    codec: str = 'libx264'
    pix_fmt: str = 'yuv420p'
    options: dict[str, str] = field(default_factory=dict)
    size: tuple[int, int] = (WIDTH, HEIGHT)
    turn: int = 0
    numbers: Sequence[int] = range(60)
    ticks: Sequence[int] | None = None


def add_video(container: Any, encoding: Encoding) -> Any:
    """Add a stream."""
    stream = container.add_stream(encoding.codec, rate=RATE)
    stream.width, stream.height = encoding.size
    stream.pix_fmt = encoding.pix_fmt
    stream.options = dict(encoding.options)
    stream.codec_context.thread_count = 1
    stream.codec_context.time_base = Fraction(1, RATE)
    if encoding.pix_fmt.startswith('yuvj'):
        stream.codec_context.color_range = 2
    if encoding.turn:
        stream.set_display_rotation(-encoding.turn)
    return stream


def encode(stream: Any, encoding: Encoding) -> Iterator[Any]:
    """Encode stamped frames into packets, in decoding order."""
    ticks = encoding.ticks or range(len(encoding.numbers))
    for number, tick in zip(encoding.numbers, ticks, strict=True):
        picture = draw(number, *encoding.size)
        frame = av.VideoFrame.from_ndarray(picture, format='rgb24')
        if encoding.pix_fmt != 'rgb24':
            full = dict(dst_color_range=2) if 'j' in encoding.pix_fmt else {}
            frame = frame.reformat(format=encoding.pix_fmt, **full)
        frame.pts, frame.time_base = tick, Fraction(1, RATE)
        yield from stream.encode(frame)
    yield from stream.encode()


def write_video(
    path: Path,
    encoding: Encoding,
    container_options: dict[str, str] | None = None,
    container_format: str | None = None,
) -> list[int]:
    """Write a file with one video stream; return its frame numbers."""
    with av.open(
        str(path), 'w', container_format, options=container_options or {}
    ) as container:
        stream = add_video(container, encoding)
        for packet in encode(stream, encoding):
            container.mux(packet)
    return list(encoding.numbers)


def copy_packets(
    source: Path,
    target: Path,
    change: Callable[[list[Any]], list[Any]],
    **options: str,
) -> None:
    """Copy the packets of a file with one video stream, changed."""
    with av.open(str(source)) as before:
        stream = before.streams.video[0]
        packets = [packet for packet in before.demux(stream) if packet.size]
        with av.open(str(target), 'w', options=options) as after:
            copy = after.add_stream_from_template(stream)
            for packet in change(packets):
                packet.stream = copy
                after.mux(packet)
