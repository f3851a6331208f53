"""Posters, strips of frames and previews of indexed videos."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from mmtvr.search.records import FileEntry
from mmtvr.serve.disk_cache import DiskCache
from mmtvr.serve.library import Library
from mmtvr.serve.preview import choose_preview, write_preview
from mmtvr.video import VideoReader

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
