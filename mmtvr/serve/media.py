"""The videos themselves, and thumbnails and previews made of them."""

import io
import logging
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import parsedate
from fractions import Fraction
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from anyio import to_thread
from mmengine.logging import print_log
from PIL import Image
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from mmtvr.files import atomic_path
from mmtvr.search.stores.base import FileEntry
from mmtvr.serve.library import Library
from mmtvr.serve.requests import BoundedExecutor, client_of, read_time
from mmtvr.video import VideoReader

# What browsers open; if they cannot decode it after all, they go on with the
# preview.
PLAYABLE = {
    '.m4v': 'video/mp4',
    '.mov': 'video/mp4',
    '.mp4': 'video/mp4',
    '.webm': 'video/webm',
}
MADE_TYPES = {'.jpg': 'image/jpeg', '.mp4': 'video/mp4'}
UNKNOWN_TYPE = 'application/octet-stream'
# Opens the same file again, whatever its path leads to by now.
DESCRIPTORS = '/dev/fd'
KEEP = {'cache-control': 'private, max-age=3600'}
PREVIEW_SECONDS, LEAD_SECONDS = 10.0, 1.0
PREVIEW_RATE = 15.0
# Of the frames that are decoded for a preview: ten seconds of 1080p at 50.
PREVIEW_PIXELS, MIN_PREVIEW_SECONDS = 1.0e9, 1.5
X264 = dict(crf='26', preset='veryfast')
POSTER_SIDE, POSTER_QUALITY = 270, 82
STRIP_SIDE, STRIP_QUALITY, STRIP_LONGEST = 96, 75, 16
SHARE_AFTER_PRUNING = 0.8

OpenReader = Callable[..., VideoReader]


class Media:
    """Answer requests for videos, thumbnails and previews.

    Args:
        library: The videos.
        thumbnails: Makes what is not there yet.
        opening: Where files are opened, the indexed ones and made ones.
        pictures: Where thumbnails are made.
        previews: Where previews are made, which takes longest.
    """

    def __init__(
        self,
        library: Library,
        thumbnails: 'Thumbnails',
        opening: BoundedExecutor,
        pictures: BoundedExecutor,
        previews: BoundedExecutor,
    ) -> None:
        self.library = library
        self.thumbnails = thumbnails
        self.opening = opening
        self.pictures = pictures
        self.previews = previews

    @property
    def routes(self) -> list[Route]:
        """The addresses."""
        return [
            Route('/video/{key}', self.video),
            Route('/poster/{key}', self.poster),
            Route('/strip/{key}', self.strip),
            Route('/preview/{key}', self.preview),
        ]

    async def video(self, request: Request) -> Response:
        """Send a video as it is, or a range of it."""
        return await self.opening.run(
            self._open,
            request.path_params['key'],
            client=client_of(request),
        )

    async def poster(self, request: Request) -> Response:
        """Send the frame of a moment."""
        time = read_time(request)
        return await self._send(
            request, self.pictures, self.thumbnails.poster, time
        )

    async def strip(self, request: Request) -> Response:
        """Send all frames that the model saw together, side by side."""
        time = read_time(request)
        return await self._send(
            request, self.pictures, self.thumbnails.strip, time
        )

    async def preview(self, request: Request) -> Response:
        """Send a short video that every browser plays."""
        time = read_time(request)
        return await self._send(
            request, self.previews, self.thumbnails.preview, time
        )

    def _open(self, key: str) -> Response:
        entry = self.library.find(key)
        file, status = self.library.open(entry)
        extension = Path(entry.path).suffix.lower()
        media_type = PLAYABLE.get(extension, UNKNOWN_TYPE)
        return OpenFileResponse(file, status, media_type)

    async def _send(
        self,
        request: Request,
        executor: BoundedExecutor,
        describe: Callable[..., 'Picture'],
        *args: float | None,
    ) -> Response:
        key, client = request.path_params['key'], client_of(request)

        def find() -> tuple[Picture, Path | None]:
            picture = describe(self.library.find(key), *args)
            return picture, self.thumbnails.cache.find(picture.name)

        picture, path = await self.opening.run(find, client=client)
        made: Path | bytes
        if path is not None:
            made = path
        else:
            made = await executor.run(
                self.thumbnails.cache.get,
                picture.name,
                picture.make,
                client=client,
            )
        if isinstance(made, bytes):
            return Response(made, media_type=picture.media_type)
        return ConditionalFileResponse(
            made, media_type=picture.media_type, headers=KEEP
        )


# What RFC 9110 allows; anything else is to be ignored (section 14.2).
RANGES = re.compile(r'bytes=\s*(\d{1,18}-\d{0,18}|-\d{1,18})', re.ASCII)


class ConditionalFileResponse(FileResponse):
    """A file with ranges, conditions and HEAD.

    Starlette's ``FileResponse`` answers no ``If-None-Match`` and no
    ``If-Modified-Since``, and refuses ranges that it does not understand.
    """

    async def __call__(
        self, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Send the file, a part of it, or that it is as it was."""
        headers = Headers(scope=scope)
        if self.stat_result is None:
            status = await to_thread.run_sync(os.stat, self.path)
            self.stat_result = status
            self.set_stat_headers(status)
        if self._is_known(headers):
            kept = ('cache-control', 'etag', 'last-modified')
            known = {k: self.headers[k] for k in kept if k in self.headers}
            await Response(None, 304, known)(scope, receive, send)
            return
        if not _is_range(headers.get('range', '')):
            others = [each for each in scope['headers'] if each[0] != b'range']
            scope = {**scope, 'headers': others}
        await super().__call__(scope, receive, send)

    def _is_known(self, headers: Headers) -> bool:
        tags = headers.get('if-none-match')
        if tags is not None:
            ours = self.headers['etag']
            theirs = [
                tag.strip().removeprefix('W/') for tag in tags.split(',')
            ]
            return ours in theirs or tags.strip() == '*'
        since = parsedate(headers.get('if-modified-since', ''))
        ours = parsedate(self.headers['last-modified'])
        return since is not None and ours[:6] <= since[:6]


def _is_range(value: str) -> bool:
    first, *others = value.split(',')
    parts = [first, *(f'bytes={each}' for each in others)]
    found = [RANGES.fullmatch(part.strip()) for part in parts]
    if not all(found):
        return False
    for each in found:
        start, end = each[1].split('-')
        if start and end and int(start) > int(end):
            return False
    return True


class OpenFileResponse(ConditionalFileResponse):
    """A file that is open already.

    What is sent is the file that was opened and checked, not whatever its
    path leads to a moment later, where the system has ``/dev/fd``.

    Args:
        file: The open file; closed afterwards.
        status: What ``fstat`` says of it.
        media_type: Its type.
    """

    def __init__(
        self, file: BinaryIO, status: os.stat_result, media_type: str
    ) -> None:
        path = f'{DESCRIPTORS}/{file.fileno()}'
        if not os.path.exists(path):
            path = file.name
        super().__init__(path, media_type=media_type, stat_result=status)
        self.file = file

    async def __call__(
        self, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Send the file."""
        with self.file:
            await super().__call__(scope, receive, send)


class Picture(NamedTuple):
    """A thumbnail or preview that is there, or can be made.

    Attributes:
        name: Of its file.
        media_type: Its type.
        make: Makes its content, which may take long.
    """

    name: str
    media_type: str
    make: Callable[[], bytes]


class Thumbnails:
    """Make thumbnails with the reader of the model, and keep them.

    Only moments that the index knows have one, so there are as many as
    frames in the index.

    Args:
        library: The videos.
        cache: Where to keep what was made.
        open_reader: Opens a video: ``(path, short_side) -> reader``.
    """

    def __init__(
        self, library: Library, cache: 'DiskCache', open_reader: OpenReader
    ) -> None:
        self.library = library
        self.cache = cache
        self.open_reader = open_reader

    def poster(self, entry: FileEntry, time: float | None) -> Picture:
        """A JPEG of one moment.

        Args:
            entry: The video.
            time: Seconds; the nearest frame of the index is taken. None for
                the middle.
        """
        moment = self._moment(entry, time)

        def make() -> bytes:
            (frame,) = self._frames(entry, [moment], POSTER_SIDE)
            return _to_jpeg(frame, POSTER_QUALITY)

        return self._describe(entry, 'poster', moment, '.jpg', make)

    def strip(self, entry: FileEntry, time: float | None = None) -> Picture:
        """A JPEG of the frames that the model saw together, side by side.

        Args:
            entry: The video.
            time: Of a long one, where the window begins; None: the whole.
        """
        times = self.library.times_together(entry, time)
        side = STRIP_SIDE if len(times) <= STRIP_LONGEST else STRIP_SIDE // 3

        def make() -> bytes:
            frames = self._frames(entry, times.tolist(), side)
            frames[:, :, [0, -1]] = 255
            wide = np.concatenate(list(frames), axis=1)
            return _to_jpeg(wide, STRIP_QUALITY)

        detail = (side, float(times[0]))
        return self._describe(entry, 'strip', detail, '.jpg', make)

    def preview(self, entry: FileEntry, time: float | None) -> Picture:
        """A short silent MP4 in H.264, see :meth:`poster`."""
        moment = self._moment(entry, time)

        def make() -> bytes:
            with self._open(entry, POSTER_SIDE) as reader:
                times = reader.get_times()
                height, width = reader.original_shape
                seconds = find_preview_seconds(times, height * width)
                chosen = choose_preview(times, moment, seconds)
                frames = reader.get_frames(chosen.indices)
            return encode_preview(frames, chosen.rate)

        return self._describe(entry, 'preview', moment, '.mp4', make)

    def _moment(self, entry: FileEntry, time: float | None) -> float:
        times = self.library.times(entry)
        if time is None:
            return float(times[len(times) // 2])
        return float(times[np.abs(times - time).argmin()])

    def _frames(
        self, entry: FileEntry, times: list[float], side: int
    ) -> np.ndarray:
        with self._open(entry, side) as reader:
            shown = np.asarray(reader.get_times())
            # A time came from such a table, rounded to float32.
            at = np.searchsorted(shown, np.array(times) + 1e-3) - 1
            return reader.get_frames(at.clip(0))

    @contextmanager
    def _open(self, entry: FileEntry, side: int) -> Iterator[VideoReader]:
        with (
            self.library.unchanged(entry) as path,
            self.open_reader(path, short_side=side) as reader,
        ):
            yield reader

    def _describe(
        self,
        entry: FileEntry,
        kind: str,
        detail: float | tuple[float, ...],
        suffix: str,
        make: Callable[[], bytes],
    ) -> Picture:
        parts = (entry.path, entry.size, tuple(entry.changed), kind, detail)
        digest = blake2b(repr(parts).encode('utf-8', 'surrogatepass'))
        name = f'{digest.hexdigest()[:32]}{suffix}'
        return Picture(name, MADE_TYPES[suffix], make)


def _to_jpeg(image: np.ndarray, quality: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, 'JPEG', quality=quality)
    return file.getvalue()


class Preview(NamedTuple):
    """Which frames a preview shows.

    Attributes:
        indices: Shape (N,), int64, ascending, at least one.
        rate: Frames per second.
    """

    indices: np.ndarray
    rate: float


def preview_start(moment: float) -> float:
    """Where the preview of a moment begins, in seconds."""
    return max(0.0, moment - LEAD_SECONDS)


def find_preview_seconds(times: np.ndarray, pixels: int) -> float:
    """How long a preview can be that takes no more than ``PREVIEW_PIXELS``.

    All frames in between are decoded, also those that are not shown.

    Args:
        times: Shape (T,), seconds of all frames, ascending.
        pixels: Of one frame, before it is made smaller.
    """
    lasts = float(times[-1] - times[0])
    rate = (len(times) - 1) / lasts if lasts > 0 else PREVIEW_RATE
    seconds = PREVIEW_PIXELS / max(1, pixels) / max(rate, PREVIEW_RATE)
    return min(PREVIEW_SECONDS, max(MIN_PREVIEW_SECONDS, seconds))


def choose_preview(
    times: np.ndarray, moment: float, seconds: float = PREVIEW_SECONDS
) -> Preview:
    """Choose frames around a moment.

    Args:
        times: Shape (T,), seconds of all frames, ascending.
        moment: Seconds.
        seconds: How long it may be.

    Returns:
        Frames of ``seconds`` from a little before the moment on, at
        ``PREVIEW_RATE`` or as many as there are.
    """
    start = preview_start(moment)
    wanted = start + np.arange(seconds * PREVIEW_RATE) / PREVIEW_RATE
    last = times[-1] + (times[-1] - times[0]) / max(1, len(times) - 1)
    wanted = wanted[wanted < max(last, start + 1 / PREVIEW_RATE)]
    at = np.searchsorted(times, wanted + 1e-3) - 1
    indices = np.unique(at.clip(0))
    return Preview(indices, len(indices) / (len(wanted) / PREVIEW_RATE))


def encode_preview(frames: np.ndarray, rate: float) -> bytes:
    """Encode RGB frames (N, H, W, 3), uint8, as H.264 in MP4."""
    import av

    height, width = (side // 2 * 2 for side in frames.shape[1:3])
    file = io.BytesIO()
    with av.open(file, 'w', format='mp4') as container:
        steps = Fraction(rate).limit_denominator(1000)
        stream = container.add_stream('libx264', rate=steps)
        stream.width, stream.height = max(2, width), max(2, height)
        stream.pix_fmt = 'yuv420p'
        stream.options = X264
        for frame in frames:
            even = np.ascontiguousarray(frame[:height, :width])
            encoded = av.VideoFrame.from_ndarray(even, format='rgb24')
            container.mux(stream.encode(encoded))
        container.mux(stream.encode())
    return file.getvalue()


class DiskCache:
    """A folder of made files; the ones that were not used longest go first.

    Args:
        folder: The folder; made if need be, for its owner alone.
        max_bytes: What the files may take together.
    """

    def __init__(self, folder: Path, max_bytes: int = 2**30) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.bytes = sum(file.stat().st_size for file in folder.iterdir())
        self.is_failing = False

    def find(self, name: str) -> Path | None:
        """The file of that name, if it is there."""
        path = self.folder / name
        try:
            # The time of its content stays, which is what browsers know.
            os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))
        except OSError:
            return None
        return path

    def get(self, name: str, make: Callable[[], bytes]) -> Path | bytes:
        """The file of that name, with what ``make`` returns if need be.

        Returns:
            The content itself where it cannot be kept.
        """
        known = self.find(name)
        if known is not None:
            return known
        content, path = make(), self.folder / name
        try:
            with atomic_path(path) as partial:
                partial.write_bytes(content)
        except OSError as error:
            if not self.is_failing:
                print_log(
                    f'{self.folder} keeps no pictures any more, each is made '
                    f'again when it is asked for: {error}',
                    'current',
                    logging.WARNING,
                )
            self.is_failing = True
            return content
        self.is_failing = False
        self.bytes += len(content)
        if self.bytes > self.max_bytes:
            self._prune(keep=path)
        return path

    def _prune(self, keep: Path) -> None:
        """Remove files until well below the limit."""
        files = [(f.stat(), f) for f in self.folder.iterdir() if f != keep]
        files.sort(key=lambda pair: pair[0].st_atime_ns)
        self.bytes = sum(s.st_size for s, _ in files) + keep.stat().st_size
        for about, file in files:
            if self.bytes <= SHARE_AFTER_PRUNING * self.max_bytes:
                break
            file.unlink(missing_ok=True)
            self.bytes -= about.st_size
