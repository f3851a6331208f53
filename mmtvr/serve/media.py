"""The videos themselves, and thumbnails and previews made of them."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from mmtvr.files import atomic_path
from mmtvr.search.stores.base import FileEntry
from mmtvr.serve.library import Library
from mmtvr.serve.requests import BoundedExecutor, read_time
from mmtvr.video import VideoReader

# What browsers open; if they cannot decode it after all, they go on with the
# preview.
PLAYABLE = {
    '.m4v': 'video/mp4',
    '.mov': 'video/mp4',
    '.mp4': 'video/mp4',
    '.webm': 'video/webm',
}
UNKNOWN_TYPE = 'application/octet-stream'
# Opens the same file again, whatever its path leads to by now.
DESCRIPTORS = '/dev/fd'
KEEP = {'cache-control': 'private, max-age=3600'}
PREVIEW_SECONDS, LEAD_SECONDS = 10.0, 1.0
PREVIEW_RATE = 15.0
X264 = dict(crf='26', preset='veryfast', movflags='+faststart')
POSTER_SIDE, POSTER_QUALITY = 270, 82
STRIP_SIDE, STRIP_QUALITY, STRIP_LONGEST = 96, 75, 16
SHARE_AFTER_PRUNING = 0.8

OpenReader = Callable[..., VideoReader]


class Media:
    """Answer requests for videos, thumbnails and previews.

    Args:
        library: The videos.
        thumbnails: Makes what is not there yet.
        executor: Where files are read.
    """

    def __init__(
        self,
        library: Library,
        thumbnails: 'Thumbnails',
        executor: BoundedExecutor,
    ) -> None:
        self.library = library
        self.thumbnails = thumbnails
        self.executor = executor

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
        return await self.executor.run(self._open, request.path_params['key'])

    async def poster(self, request: Request) -> Response:
        """Send the frame of a moment."""
        time = read_time(request)
        return await self._send(
            request, 'image/jpeg', self.thumbnails.poster, time
        )

    async def strip(self, request: Request) -> Response:
        """Send all frames that the index knows, side by side."""
        return await self._send(request, 'image/jpeg', self.thumbnails.strip)

    async def preview(self, request: Request) -> Response:
        """Send a short video that every browser plays."""
        time = read_time(request)
        return await self._send(
            request, 'video/mp4', self.thumbnails.preview, time
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
        media_type: str,
        make: Callable[..., Path],
        *args: float | None,
    ) -> Response:
        def work() -> Path:
            return make(self.library.find(request.path_params['key']), *args)

        path = await self.executor.run(work)
        return FileResponse(path, media_type=media_type, headers=KEEP)


class OpenFileResponse(FileResponse):
    """A file with ranges, conditions and HEAD, as ``FileResponse``.

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

    def poster(self, entry: FileEntry, time: float | None) -> Path:
        """A JPEG of one moment.

        Args:
            entry: The video.
            time: Seconds; the nearest frame of the index is taken. None for
                the middle.
        """
        moment = self._moment(entry, time)

        def make(path: Path) -> None:
            (frame,) = self._frames(entry, [moment], POSTER_SIDE)
            image = Image.fromarray(frame)
            image.save(path, 'JPEG', quality=POSTER_QUALITY)

        return self._get(entry, 'poster', moment, '.jpg', make)

    def strip(self, entry: FileEntry) -> Path:
        """A JPEG of all frames that the index knows, side by side."""
        times = self.library.times(entry)
        side = STRIP_SIDE if len(times) <= STRIP_LONGEST else STRIP_SIDE // 3

        def make(path: Path) -> None:
            frames = self._frames(entry, times.tolist(), side)
            frames[:, :, [0, -1]] = 255
            image = Image.fromarray(np.concatenate(list(frames), axis=1))
            image.save(path, 'JPEG', quality=STRIP_QUALITY)

        return self._get(entry, 'strip', side, '.jpg', make)

    def preview(self, entry: FileEntry, time: float | None) -> Path:
        """A short silent MP4 in H.264, see :meth:`poster`."""
        moment = self._moment(entry, time)

        def make(path: Path) -> None:
            with self._open(entry, POSTER_SIDE) as reader:
                chosen = choose_preview(reader.get_times(), moment)
                frames = reader.get_frames(chosen.indices)
            write_preview(path, frames, chosen.rate)

        return self._get(entry, 'preview', moment, '.mp4', make)

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

    def _get(
        self,
        entry: FileEntry,
        kind: str,
        detail: float,
        suffix: str,
        make: Callable[[Path], None],
    ) -> Path:
        parts = (entry.path, entry.size, tuple(entry.changed), kind, detail)
        return self.cache.get(parts, suffix, make)


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


def choose_preview(times: np.ndarray, moment: float) -> Preview:
    """Choose frames around a moment.

    Args:
        times: Shape (T,), seconds of all frames, ascending.
        moment: Seconds.

    Returns:
        Frames of ``PREVIEW_SECONDS`` from a little before the moment on, at
        ``PREVIEW_RATE`` or as many as there are.
    """
    start = preview_start(moment)
    wanted = start + np.arange(PREVIEW_SECONDS * PREVIEW_RATE) / PREVIEW_RATE
    last = times[-1] + (times[-1] - times[0]) / max(1, len(times) - 1)
    wanted = wanted[wanted < max(last, start + 1 / PREVIEW_RATE)]
    at = np.searchsorted(times, wanted + 1e-3) - 1
    indices = np.unique(at.clip(0))
    return Preview(indices, len(indices) / (len(wanted) / PREVIEW_RATE))


def write_preview(path: Path, frames: np.ndarray, rate: float) -> None:
    """Encode RGB frames (N, H, W, 3), uint8, as H.264 in MP4."""
    import av

    height, width = (side // 2 * 2 for side in frames.shape[1:3])
    with av.open(str(path), 'w', format='mp4') as container:
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

    def get(
        self, parts: tuple, suffix: str, make: Callable[[Path], None]
    ) -> Path:
        """The file that depends on ``parts``, by ``make(path)`` if need be."""
        digest = blake2b(repr(parts).encode('utf-8', 'surrogatepass'))
        path = self.folder / f'{digest.hexdigest()[:32]}{suffix}'
        if path.is_file():
            path.touch()
            return path
        with atomic_path(path) as partial:
            make(partial)
        self.bytes += path.stat().st_size
        if self.bytes > self.max_bytes:
            self._prune(keep=path)
        return path

    def _prune(self, keep: Path) -> None:
        """Remove files until well below the limit."""
        files = [(f.stat(), f) for f in self.folder.iterdir() if f != keep]
        files.sort(key=lambda pair: pair[0].st_mtime_ns)
        self.bytes = sum(s.st_size for s, _ in files) + keep.stat().st_size
        for about, file in files:
            if self.bytes <= SHARE_AFTER_PRUNING * self.max_bytes:
                break
            file.unlink(missing_ok=True)
            self.bytes -= about.st_size
