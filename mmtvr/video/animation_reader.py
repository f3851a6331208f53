"""Animated GIF and WebP: frames by Pillow, everything else by the file.

FFmpeg does not decode animated WebP, and a GIF whose end is missing only seems
shorter to it. So blocks and chunks are walked here, which tells how many
frames there are, for how long each is shown and whether the file is whole,
without decoding or keeping a pixel.
"""

import os
import struct
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from mmtvr.video.reader import (
    UnreadableVideoError,
    VideoReader,
    reduced_size,
    resize_frame,
)

#: What shows through transparent pixels: white, as on most pages.
BACKGROUND = (255, 255, 255)
#: A canvas of more is refused; twelve of its frames would take 2.4 GB.
MAX_PIXELS = 2**26
#: Shorter ones are shown for ``SLOW_SECONDS``, in browsers and by FFmpeg.
MIN_SECONDS, SLOW_SECONDS = 0.02, 0.1
# Of GIF89a: blocks, and the label of the extension with the delay.
EXTENSION, IMAGE, TRAILER, GRAPHIC_CONTROL = 0x21, 0x2C, 0x3B, 0xF9
# Of RFC 9649, in a file whose first chunk is the extended header.
VP8X_FLAGS, ALPHA_FLAG = 20, 0x10


class Animation(NamedTuple):
    """What a file says about its frames.

    Attributes:
        codec: ``'gif'`` or ``'webp'``.
        shape: Height and width.
        seconds: For how long each frame is shown.
    """

    codec: str
    shape: tuple[int, int]
    seconds: list[float]


def find_kind(path: str) -> str | None:
    """``'gif'`` or ``'webp'`` by the first bytes of a file, or None."""
    try:
        with open(path, 'rb') as file:
            start = file.read(12)
    except OSError:
        return None
    if start[:6] in (b'GIF87a', b'GIF89a'):
        return 'gif'
    if start[:4] == b'RIFF' and start[8:] == b'WEBP':
        return 'webp'
    return None


def read_animation(path: str) -> Animation:
    """Read the structure of a GIF or WebP without decoding it.

    Raises:
        UnreadableVideoError: If it is neither, cut off, of one frame, which
            makes it an image, or its canvas is too large.
    """
    kind = find_kind(path)
    walk = {'gif': _walk_gif, 'webp': _walk_webp}.get(kind)
    if walk is None:
        raise UnreadableVideoError(f'{path}: it is no GIF or WebP')
    try:
        with open(path, 'rb') as file:
            shape, seconds = walk(file)
    except (ValueError, struct.error, OSError) as error:
        reason = str(error) if type(error) is ValueError else 'it is cut off'
        raise UnreadableVideoError(f'{path}: {reason}') from error
    height, width = shape
    if height * width > MAX_PIXELS:
        raise UnreadableVideoError(
            f'{path}: its canvas of {width} x {height} pixels is larger than '
            f'the {MAX_PIXELS:,} that are read'
        )
    if len(seconds) < 2:
        raise UnreadableVideoError(
            f'{path}: an image, not a video: this {kind.upper()} has '
            f'{len(seconds)} frame'
        )
    shown = [SLOW_SECONDS if s < MIN_SECONDS else s for s in seconds]
    return Animation(kind, shape, shown)


class AnimationReader(VideoReader):
    """An animated GIF or WebP, decoded in order up to the last frame asked.

    Besides the file, which Pillow reads whole where it is a WebP, one frame is
    in memory at a time. Transparent pixels show ``BACKGROUND``.

    Args:
        path: The file.
        short_side: See :class:`VideoReader`.

    Raises:
        UnreadableVideoError: See :func:`read_animation`.
    """

    #: Size and rotation are known without a frame.
    has_frames = True

    def __init__(
        self, path: str | os.PathLike, short_side: int | None = None
    ) -> None:
        super().__init__(path, short_side)
        self._animation = read_animation(self.path)

    def __len__(self) -> int:
        """Number of frames, at least two."""
        return len(self._animation.seconds)

    @property
    def original_shape(self) -> tuple[int, int]:
        """Height and width of the canvas."""
        return self._animation.shape

    @property
    def fps(self) -> float:
        """Frames per second, on average."""
        return len(self) / sum(self._animation.seconds)

    @property
    def codec(self) -> str:
        """``'gif'`` or ``'webp'``."""
        return self._animation.codec

    @property
    def rotation(self) -> int:
        """Always 0: neither format turns its frames."""
        return 0

    def get_times(self) -> np.ndarray:
        """Return when each frame is shown, see :class:`VideoReader`."""
        return np.cumsum([0.0, *self._animation.seconds[:-1]])

    def get_frames(self, indices: Sequence[int]) -> np.ndarray:
        """Decode frames, see :class:`VideoReader`."""
        order = [int(index) for index in indices]
        if not order:
            raise ValueError('no frame was asked for')
        if not 0 <= min(order) <= max(order) < len(self):
            raise IndexError(
                f'{self.path}: it has {len(self)} frames; asked for '
                f'{min(order)} to {max(order)}'
            )
        shape = self.original_shape
        size = reduced_size(shape, self.short_side) or shape
        frames = np.empty((len(order), *size, 3), np.uint8)
        rows: dict[int, list[int]] = {}
        for row, index in enumerate(order):
            rows.setdefault(index, []).append(row)

        def take(index: int, frame: np.ndarray) -> None:
            first, *others = rows[index]
            if size == shape:
                frames[first] = frame
            else:
                resize_frame(frame, frames[first])
            frames[others] = frames[first]

        _decode(self.path, self._animation, sorted(rows), take)
        return frames

    def close(self) -> None:
        """Nothing stays open."""


def _decode(
    path: str,
    animation: Animation,
    wanted: Sequence[int],
    take: Callable[[int, np.ndarray], None],
) -> None:
    """Decode wanted frames, ascending, and hand each over as RGB."""
    from PIL import Image

    height, width = animation.shape
    try:
        source = path if animation.codec == 'gif' else _show_alpha(path)
        with Image.open(source, formats=(animation.codec,)) as image:
            for index in wanted:
                image.seek(index)
                picture = image.convert('RGBA')
                if picture.size != (width, height):
                    raise ValueError('its frames leave the canvas')
                below = Image.new('RGBA', picture.size, (*BACKGROUND, 255))
                below.alpha_composite(picture)
                take(index, np.asarray(below)[..., :3])
    # Pillow's decoders raise what their parsers meet, as SyntaxError.
    except Exception as error:
        if isinstance(error, MemoryError):
            raise
        reason = str(error) or type(error).__name__
        raise UnreadableVideoError(f'{path}: {reason}') from error


def _show_alpha(path: str) -> BytesIO:
    """Get a WebP that says it is transparent.

    An encoder does not say so if all frames are opaque but leave parts of the
    canvas free, and Pillow then makes these black (13.0).
    """
    with open(path, 'rb') as file:
        content = bytearray(file.read())
    if content[12:16] == b'VP8X':
        content[VP8X_FLAGS] |= ALPHA_FLAG
    return BytesIO(content)


def inspect_animation(path: str) -> dict[str, Any]:
    """See :func:`mmtvr.video.inspection.inspect_video`.

    Returns:
        The same facts, but that brightness and contrast are those of at most
        ``16`` frames, evenly spread.
    """
    animation = read_animation(path)
    means, deviations = [], []

    def look(index: int, frame: np.ndarray) -> None:
        grey = frame[::4, ::4].astype(np.float32).mean(-1)
        means.append(round(float(grey.mean()), 1))
        deviations.append(round(float(grey.std()), 1))

    count, end = len(animation.seconds), ''
    chosen = np.unique(np.linspace(0, count - 1, 16).astype(int))
    try:
        _decode(path, animation, chosen.tolist(), look)
    except UnreadableVideoError as error:
        end = str(error).removeprefix(f'{path}: ')
    return dict(
        codec=animation.codec,
        seconds=sum(animation.seconds),
        fps=count / sum(animation.seconds),
        frames_reported=count,
        frames_held=count,
        sizes=[animation.shape],
        brightness=(min(means, default=0), max(means, default=0)),
        contrast=max(deviations, default=0.0),
        end=end,
    )


def _walk_gif(file: BinaryIO) -> tuple[tuple[int, int], list[float]]:
    """Walk the blocks of a GIF (GIF89a, W3C)."""
    width, height, flags = struct.unpack('<6xHHBxx', _read(file, 13))
    _skip_palette(file, flags)
    seconds, delay = [], 0
    while (kind := _read(file, 1)[0]) != TRAILER:
        if kind == EXTENSION:
            is_control = _read(file, 1)[0] == GRAPHIC_CONTROL
            if is_control and (size := _read(file, 1)[0]):
                block = _read(file, size)
                delay = struct.unpack_from('<xH', block)[0]
        elif kind == IMAGE:
            left, top, across, down, flags = struct.unpack(
                '<HHHHB', _read(file, 9)
            )
            if left + across > width or top + down > height:
                raise ValueError('its frames leave the canvas')
            _skip_palette(file, flags)
            _read(file, 1)
            seconds.append(delay / 100)
            delay = 0
        else:
            raise ValueError(f'it is damaged at byte {file.tell() - 1}')
        while size := _read(file, 1)[0]:
            _read(file, size)
    return (height, width), seconds


def _skip_palette(file: BinaryIO, flags: int) -> None:
    if flags & 0x80:
        _read(file, 3 << (flags & 7) + 1)


def _walk_webp(file: BinaryIO) -> tuple[tuple[int, int], list[float]]:
    """Walk the chunks of a WebP (RFC 9649)."""
    (size,) = struct.unpack('<4xI4x', _read(file, 12))
    end = 8 + size
    if os.fstat(file.fileno()).st_size < end:
        raise ValueError('it is cut off')
    shape, seconds, images = None, [], 0
    while file.tell() + 8 <= end:
        name, size = struct.unpack('<4sI', _read(file, 8))
        following = file.tell() + size + size % 2
        if file.tell() + size > end:
            raise ValueError('it is cut off')
        if name == b'VP8X':
            numbers = _read(file, 10)
            width, height = (
                1 + int.from_bytes(numbers[at : at + 3], 'little')
                for at in (4, 7)
            )
            shape = height, width
        elif name == b'ANMF':
            about = _read(file, 16)
            seconds.append(int.from_bytes(about[12:15], 'little') / 1000)
        elif name in (b'VP8 ', b'VP8L'):
            images += 1
        file.seek(following)
    if shape is None or not seconds:
        # Without the extended header it is one picture.
        return shape or (0, 0), [0.0] * images
    return shape, seconds


def _read(file: BinaryIO, size: int) -> bytes:
    content = file.read(size)
    if len(content) < size:
        raise ValueError('it is cut off')
    return content
