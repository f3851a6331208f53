"""Posters, strips of frames and previews, made once and kept on disk."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from mmtvr.files import atomic_path
from mmtvr.search.stores.base import FileEntry
from mmtvr.serve.library import Library
from mmtvr.video import VideoReader

SECONDS, LEAD = 10.0, 1.0
RATE = 15.0
OPTIONS = dict(crf='26', preset='veryfast', movflags='+faststart')


class Preview(NamedTuple):
    """Which frames a preview shows.

    Attributes:
        indices: Shape (N,), int64, ascending, at least one.
        rate: Frames per second.
    """

    indices: np.ndarray
    rate: float


def preview_start(moment: float) -> float:
    """Where the preview of a moment begins.

    Args:
        moment: Seconds.

    Returns:
        Seconds.
    """
    return max(0.0, moment - LEAD)


def choose_preview(times: np.ndarray, moment: float) -> Preview:
    """Choose frames around a moment.

    Args:
        times: Shape (T,), seconds of all frames, ascending.
        moment: Seconds.

    Returns:
        Frames of ``SECONDS`` from a little before the moment on, at ``RATE``
        frames a second or as many as there are.
    """
    start = preview_start(moment)
    wanted = start + np.arange(SECONDS * RATE) / RATE
    last = times[-1] + (times[-1] - times[0]) / max(1, len(times) - 1)
    wanted = wanted[wanted < max(last, start + 1 / RATE)]
    at = np.searchsorted(times, wanted + 1e-3) - 1
    indices = np.unique(at.clip(0))
    return Preview(indices, len(indices) / (len(wanted) / RATE))


def write_preview(path: Path, frames: np.ndarray, rate: float) -> None:
    """Encode frames as H.264 in MP4.

    Args:
        path: The file.
        frames: Shape (N, H, W, 3), uint8, RGB.
        rate: Frames per second.
    """
    import av

    height, width = (side // 2 * 2 for side in frames.shape[1:3])
    with av.open(str(path), 'w', format='mp4') as container:
        steps = Fraction(rate).limit_denominator(1000)
        stream = container.add_stream('libx264', rate=steps)
        stream.width, stream.height = max(2, width), max(2, height)
        stream.pix_fmt = 'yuv420p'
        stream.options = OPTIONS
        for frame in frames:
            even = np.ascontiguousarray(frame[:height, :width])
            picture = av.VideoFrame.from_ndarray(even, format='rgb24')
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


SHARE_KEPT = 0.8


class DiskCache:
    """A folder of made files; the ones that were not used longest go first.

    Args:
        folder: The folder; made if need be, for its owner alone.
        most_bytes: What the files may take together.
    """

    def __init__(self, folder: Path, most_bytes: int = 2**30) -> None:
        self.folder = folder
        self.most_bytes = most_bytes
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.bytes = sum(file.stat().st_size for file in folder.iterdir())

    def get(
        self, parts: tuple, suffix: str, make: Callable[[Path], None]
    ) -> Path:
        """Give a file, made if it is not there.

        Args:
            parts: What the file depends on.
            suffix: Ending of its name.
            make: Writes the file to a path.

        Returns:
            The file.
        """
        digest = blake2b(repr(parts).encode('utf-8', 'surrogatepass'))
        path = self.folder / f'{digest.hexdigest()[:32]}{suffix}'
        if path.is_file():
            path.touch()
            return path
        with atomic_path(path) as partial:
            make(partial)
        self.bytes += path.stat().st_size
        if self.bytes > self.most_bytes:
            self._prune(keep=path)
        return path

    def _prune(self, keep: Path) -> None:
        """Remove files until well below the limit."""
        files = [(f.stat(), f) for f in self.folder.iterdir() if f != keep]
        files.sort(key=lambda pair: pair[0].st_mtime_ns)
        self.bytes = sum(s.st_size for s, _ in files) + keep.stat().st_size
        for about, file in files:
            if self.bytes <= SHARE_KEPT * self.most_bytes:
                break
            file.unlink(missing_ok=True)
            self.bytes -= about.st_size


OpenReader = Callable[..., VideoReader]
POSTER_SIDE, POSTER_QUALITY = 270, 82
STRIP_SIDE, STRIP_QUALITY, STRIP_LONGEST = 96, 75, 16


class Pictures:
    """Make pictures of videos with the reader of the model, and keep them.

    Only moments that the index knows have a picture, so there are as many
    as frames in the index.

    Args:
        library: The videos.
        cache: Where to keep what was made.
        open_reader: Opens a video: ``(path, short_side) -> reader``.
    """

    def __init__(
        self, library: Library, cache: DiskCache, open_reader: OpenReader
    ) -> None:
        self.library = library
        self.cache = cache
        self.open_reader = open_reader

    def poster(self, entry: FileEntry, time: float | None) -> Path:
        """Make a picture of one moment.

        Args:
            entry: The video.
            time: Seconds; the nearest frame of the index is taken. None for
                the middle.

        Returns:
            A JPEG.
        """
        moment = self._moment(entry, time)

        def make(path: Path) -> None:
            (frame,) = self._frames(entry, [moment], POSTER_SIDE)
            image = Image.fromarray(frame)
            image.save(path, 'JPEG', quality=POSTER_QUALITY)

        return self._get(entry, 'poster', moment, '.jpg', make)

    def strip(self, entry: FileEntry) -> Path:
        """Make one picture of all frames that the index knows.

        Args:
            entry: The video.

        Returns:
            A JPEG, the frames side by side.
        """
        times = self.library.times(entry)
        side = STRIP_SIDE if len(times) <= STRIP_LONGEST else STRIP_SIDE // 3

        def make(path: Path) -> None:
            frames = self._frames(entry, times.tolist(), side)
            frames[:, :, [0, -1]] = 255
            image = Image.fromarray(np.concatenate(list(frames), axis=1))
            image.save(path, 'JPEG', quality=STRIP_QUALITY)

        return self._get(entry, 'strip', side, '.jpg', make)

    def preview(self, entry: FileEntry, time: float | None) -> Path:
        """Make a short silent H.264 video around one moment.

        Args:
            entry: The video.
            time: Seconds, see :meth:`poster`.

        Returns:
            An MP4.
        """
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
