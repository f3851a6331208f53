"""The frame cache: frames of videos, decoded once, one file per entry.

An entry holds the frames that one transform reads of one video. Its file name
is a digest of all that the frames depend on, so it is found without an index;
it is written aside and renamed, so it is there as a whole or not at all, and
any number of processes and machines may share a folder without locks::

    FOLDER/3f/3f0c....entry   frames and what is known of the video
    FOLDER/content/9a1b...    hash of the content of a video file, by its stamp
"""

import errno
import functools
import json
import logging
import os
import shutil
import struct
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import xxhash

from mmtvr.files import PARTIAL, FileStamp, atomic_path, hash_file
from mmtvr.video.reader import VideoReader

LOGGER = logging.getLogger(__name__)
GIGABYTE = 10**9

#: To be raised with every change of which frames, or which pixels, the
#: readers of this package return.
READERS_REVISION = 3
DECODERS = (
    'av',
    'decord',
    'torchcodec',
    'pillow',
    'opencv-python',
    'opencv-python-headless',
    'opencv-contrib-python',
    'opencv-contrib-python-headless',
)


@functools.cache
def decoder_versions() -> dict[str, str | int]:
    """Versions of the installed packages that decode and resize."""
    versions: dict[str, str | int] = dict(mmtvr=READERS_REVISION)
    for name in DECODERS:
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


def spread_in_segments(bounds: np.ndarray, per_segment: int) -> np.ndarray:
    """Choose evenly spread frames of each segment.

    Of a segment of L frames, K = min(L, per_segment) are chosen: frame k is
    the one in the middle of the k-th of K equal parts. An odd number includes
    the centre of the segment.

    Args:
        bounds: Shape (N + 1,), int64; segment i holds the frames from
            bounds[i] to before bounds[i + 1].
        per_segment: At most so many of each.
    """
    every = np.arange(bounds[0], bounds[-1])
    return np.unique(snap_to_spread(every, bounds, per_segment))


def snap_to_spread(
    indices: np.ndarray, bounds: np.ndarray, per_segment: int
) -> np.ndarray:
    """Replace frames by those of :func:`spread_in_segments`.

    Each frame becomes the chosen one of the part in which it lies. Frames
    drawn uniformly thus become chosen ones drawn uniformly (to within one
    frame of a part), and a random generator is used as without it. Where
    every frame is chosen, nothing changes.

    Args:
        indices: Shape (T,), positions within the bounds.
        bounds: See :func:`spread_in_segments`.
        per_segment: At most so many of each segment.
    """
    segment = np.searchsorted(bounds, indices, side='right') - 1
    start = bounds[segment]
    length = bounds[segment + 1] - start
    count = np.minimum(length, per_segment)
    part = (indices - start) * count // length
    return start + (2 * part + 1) * length // (2 * count)


def free_bytes(folder: Path) -> int:
    """Free bytes on the disk of a folder, which need not exist yet."""
    parents = (folder.absolute(), *folder.absolute().parents)
    return shutil.disk_usage(next(p for p in parents if p.exists())).free


class DamagedEntryError(Exception):
    """Bytes of an entry are not those that were written."""


#: Where bytes lie behind the header, how many, and their checksum.
Part = tuple[int, int, int]
#: Format, number of bytes of the header (JSON), its checksum.
PREFIX = struct.Struct('<8sQQ')
FORMAT = b'mmtvr-1\n'
SUFFIX = '.entry'
# Enough for the header and the times of a usual video.
FIRST_READ = 2**15


class Entry:
    """A stored video, of which only what is asked for is read and checked.

    Args:
        path: The file of the entry.
        key: What it must have been stored under.

    Raises:
        OSError: There is no such entry.
        DamagedEntryError: It is another one, or its header is damaged.
    """

    def __init__(self, path: str, key: str) -> None:
        self._file = open(path, 'rb', buffering=0)  # noqa: SIM115
        try:
            self._begin = self._file.read(FIRST_READ)
            self._header = self._read_header()
        except (ValueError, struct.error) as error:
            self.close()
            raise DamagedEntryError(f'{path}: {error}') from error
        if self._header['key'] != key:
            self.close()
            raise DamagedEntryError(f'{path} holds another entry')

    @property
    def facts(self) -> dict[str, Any]:
        """Properties of the reader that were asked for when storing."""
        return self._header['facts']

    def mark_used(self, since: float) -> None:
        """Set the time of last use, unless that is after ``since``."""
        number = self._file.fileno()
        # Not that of access: most disks do not keep it.
        if os.fstat(number).st_mtime < since:
            with suppress(OSError):
                os.utime(number)

    def get_frames(self, indices: Sequence[int]) -> np.ndarray | None:
        """Read frames.

        Args:
            indices: Positions in the video, in any order.

        Returns:
            Shape (T, H, W, 3), uint8; None if one of them is not stored.

        Raises:
            DamagedEntryError: If they are not those that were written.
        """
        parts = dict(
            zip(self._header['indices'], self._header['frames'], strict=True)
        )
        if not all(int(index) in parts for index in indices):
            return None
        frames = np.empty((len(indices), *self._header['shape']), np.uint8)
        for frame, index in zip(frames, indices, strict=True):
            part = parts[int(index)]
            if self._header['jpeg']:
                frame[:] = _decode_jpeg(self._read(part))
            else:
                self._read_into(frame.reshape(-1), part)
        return frames

    def get_times(self) -> np.ndarray:
        """Times of all frames of the video in seconds, likewise checked."""
        return self._read(self._header['times']).view(np.float64)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _read_header(self) -> dict[str, Any]:
        form, size, check = PREFIX.unpack_from(self._begin)
        self._body = PREFIX.size + size
        header = self._begin[PREFIX.size : self._body]
        if len(header) < size <= os.fstat(self._file.fileno()).st_size:
            header += self._file.read(size - len(header))
        if form != FORMAT or xxhash.xxh3_64_intdigest(header) != check:
            raise ValueError('the header is damaged')
        return json.loads(header.decode())

    def _read(self, part: Part) -> np.ndarray:
        content = np.empty(part[1], np.uint8)
        self._read_into(content, part)
        return content

    def _read_into(self, into: np.ndarray, part: Part) -> None:
        offset, size, check = part
        start = self._body + offset
        if start + size <= len(self._begin):
            into[:] = np.frombuffer(self._begin, np.uint8, size, start)
            read = size
        else:
            try:
                read = os.preadv(self._file.fileno(), [into], start)
            except OSError as error:
                raise DamagedEntryError(str(error)) from error
        if read != size or xxhash.xxh3_64_intdigest(into) != check:
            raise DamagedEntryError('a checksum does not hold')


def _pack(
    header: Mapping[str, Any], frames: Sequence[np.ndarray], times: np.ndarray
) -> list[bytes | np.ndarray]:
    """Make the content of an entry, to be written part by part."""
    body = [np.ascontiguousarray(times, np.float64), *frames]
    parts, offset = [], 0
    for content in body:
        check = xxhash.xxh3_64_intdigest(content)
        parts.append((offset, content.nbytes, check))
        offset += content.nbytes
    header = dict(header, times=parts[0], frames=parts[1:])
    text = json.dumps(header, default=repr).encode()
    check = xxhash.xxh3_64_intdigest(text)
    return [PREFIX.pack(FORMAT, len(text), check), text, *body]


def _encode_jpeg(frame: np.ndarray, quality: int) -> np.ndarray:
    import cv2

    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    return cv2.imencode('.jpg', frame[..., ::-1], options)[1]


def _decode_jpeg(content: np.ndarray) -> np.ndarray:
    import cv2

    frame = cv2.imdecode(content, cv2.IMREAD_COLOR)
    return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB, frame)


class Query(NamedTuple):
    """What is looked for."""

    path: str
    #: Of the file, before it was read.
    stamp: FileStamp
    #: Digest of all that the frames depend on.
    key: str


#: A file that changed within the last seconds may change again without its
#: stamp showing it: file systems count in steps of up to two seconds.
SETTLED_AFTER = 2.0
CONTENT = 'content'
# Partial files of writers that were killed.
ABANDONED_AFTER = 3600.0
# Removing entries makes room for more than the next one.
KEPT_SHARE = 0.95
# Between two looks at the size of the folder, a process adds at most this
# share of what is left.
ALLOWED_SHARE = 1 / 16
_WARNED: set[tuple[Path, str]] = set()


class FrameCache:
    """Frames of videos that were decoded before.

    An entry is found by what its frames depend on: the content of the file,
    the reader with its version, the sampling and the size. What changes any
    of them leads to another entry. Whatever is read is checked by a checksum;
    a damaged entry counts as absent and is replaced.

    A cache never stops a run: where the disk is full, or nothing can be
    written for another reason, it warns once and only reads.

    Args:
        folder: Where the cache is. Several processes and machines may share
            it; it may be moved.
        coding: ``'raw'`` keeps what the reader gave, bit by bit; ``'jpeg'``
            takes a fraction of the disk and changes pixels.
        quality: Of JPEG, 1 to 100.
        frames_per_segment: How many frames of each segment are stored for
            random sampling, evenly spread, of which each access draws one.
        reserve_gb: Disk space, in 10^9 bytes, that is left for other things.
        limit_gb: What the cache may grow to, in 10^9 bytes. Then entries make
            room that were not used since this cache was opened, those first
            whose last use is the longest ago; if there is none, nothing more
            is stored. None: the disk.
        host: Deprecated, without effect.
        warn: Receives messages.

    Raises:
        ValueError: If an option is out of its range.
    """

    def __init__(
        self,
        folder: str,
        coding: Literal['raw', 'jpeg'] = 'raw',
        quality: int = 95,
        frames_per_segment: int = 3,
        reserve_gb: float = 2.0,
        limit_gb: float | None = None,
        host: str | None = None,
        warn: Callable[[str], None] = LOGGER.warning,
    ) -> None:
        if coding not in ('raw', 'jpeg'):
            raise ValueError(f"coding must be 'raw' or 'jpeg', got {coding!r}")
        if not 1 <= quality <= 100:
            raise ValueError(f'quality must be 1 to 100, got {quality}')
        if frames_per_segment < 1:
            raise ValueError(
                'frames_per_segment must be positive, got '
                f'{frames_per_segment}'
            )
        if host is not None:
            warnings.warn(
                'host of the frame cache has no effect any more',
                DeprecationWarning,
                stacklevel=2,
            )
        self.folder = Path(folder)
        self.quality = quality if coding == 'jpeg' else None
        self.frames_per_segment = frames_per_segment
        self.reserve_gb = reserve_gb
        self.limit_gb = limit_gb
        #: Whether this process has given up storing.
        self.stopped = False
        self._warn = warn
        self._opened = time.time()
        self._contents: dict[tuple[str, FileStamp], str] = {}
        self._allowance = 0.0
        self._may_have_partials = True
        self._look_for_former_format()

    def ask(self, path: str, options: Mapping[str, Any]) -> Query | None:
        """Make the query for a video; reads the file if it is not known yet.

        Args:
            path: The video file.
            options: Reader, sampling and size; JSON.

        Returns:
            The argument of the other methods; None if the file is not there
            or cannot be read.
        """
        try:
            stamp = FileStamp.of(os.stat(path))
            content = self._find_content(path, stamp)
        except OSError:
            return None
        request = dict(options, content=content, quality=self.quality)
        text = json.dumps(request, sort_keys=True, default=repr)
        key = xxhash.xxh3_128_hexdigest(text.encode())
        return Query(path, stamp, key)

    def find(self, query: Query) -> Entry | None:
        """Open an entry; None if there is none, or a damaged one."""
        try:
            entry = Entry(self._path(query.key), query.key)
        except (OSError, DamagedEntryError):
            return None
        entry.mark_used(self._opened)
        return entry

    def add(
        self,
        query: Query,
        facts: Mapping[str, Any],
        indices: Sequence[int],
        frames: Sequence[np.ndarray],
        shape: tuple[int, ...],
        times: np.ndarray,
    ) -> int:
        """Store an entry, unless the cache has stopped or the file changed.

        Args:
            query: From :meth:`ask`, before the file was read.
            facts: Properties of the reader that were asked for; JSON.
            indices: Positions of the frames in the video.
            frames: From :meth:`encode`, one for each index.
            shape: Shape (H, W, 3) of each.
            times: When each frame of the video is shown.

        Returns:
            Number of bytes that were added.
        """
        if self.stopped or not self._is_current(query):
            return 0
        header = dict(
            key=query.key,
            facts=dict(facts),
            indices=[int(index) for index in indices],
            shape=list(shape),
            jpeg=self.quality is not None,
        )
        content = _pack(header, frames, times)
        try:
            self._write(query.key, content)
        except OSError as error:
            self._stop(error)
            return 0
        return _size(content)

    def encode(self, frame: np.ndarray) -> np.ndarray:
        """Bring a frame (H, W, 3), uint8, RGB, to the form that is stored."""
        if self.quality is None:
            return np.ascontiguousarray(frame)
        return _encode_jpeg(frame, self.quality)

    def decode(self, content: np.ndarray) -> np.ndarray:
        """Make a frame of what :meth:`encode` returned."""
        return content if self.quality is None else _decode_jpeg(content)

    def used_bytes(self) -> int:
        """Bytes of all entries, also of other options."""
        return sum(size for _, size, _ in self._list_entries())

    def _path(self, key: str) -> str:
        # At each visit, where pathlib takes longer than opening the file.
        return f'{self.folder}/{key[:2]}/{key}{SUFFIX}'

    def _is_current(self, query: Query) -> bool:
        try:
            return FileStamp.of(os.stat(query.path)) == query.stamp
        except OSError:
            return False

    def _find_content(self, path: str, stamp: FileStamp) -> str:
        """Hash a file, or look up its hash if its stamp is known."""
        known = self._contents.get((path, stamp))
        if known is not None:
            return known
        seen = repr((os.path.abspath(path), *stamp))
        name = xxhash.xxh3_128_hexdigest(seen.encode(errors='surrogatepass'))
        note = self.folder / CONTENT / name
        try:
            content = note.read_text(encoding='ascii')
        except (OSError, ValueError):
            content = ''
        if not content:
            last = max(stamp.times) / 1e9
            settled = last + SETTLED_AFTER < time.time()
            content = hash_file(path, 16)
            if not settled:
                return content
            self._note_content(note, content)
        self._contents[path, stamp] = content
        return content

    def _note_content(self, note: Path, content: str) -> None:
        if self.stopped:
            return
        try:
            with atomic_path(note) as partial:
                partial.write_text(content, encoding='ascii')
        except OSError as error:
            self._stop(error)

    def _write(self, key: str, content: Sequence[bytes | np.ndarray]) -> None:
        self._make_room(_size(content))
        # In the folder itself, where abandoned ones are quickly found.
        with (
            atomic_path(self._path(key), aside=self.folder) as partial,
            partial.open('wb') as file,
        ):
            self._remove_abandoned()
            file.writelines(content)

    def _remove_abandoned(self) -> None:
        if not self._may_have_partials:
            return
        self._may_have_partials = False
        for path in self.folder.glob('*' + PARTIAL):
            with suppress(OSError):
                if path.stat().st_mtime + ABANDONED_AFTER < time.time():
                    path.unlink()

    def _make_room(self, size: int) -> None:
        free = free_bytes(self.folder)
        if free < size + self.reserve_gb * GIGABYTE:
            raise OSError(
                errno.ENOSPC,
                f'{free / GIGABYTE:.1f} GB are free, of which reserve_gb='
                f'{self.reserve_gb:g} is not to be used',
            )
        if self.limit_gb is None:
            return
        if size > self._allowance:
            left = self._evict(self.limit_gb * GIGABYTE, size)
            self._allowance = size + left * ALLOWED_SHARE
        self._allowance -= size

    def _evict(self, limit: float, size: int) -> float:
        """Make room for an entry; return what is left beyond it."""
        entries = sorted(self._list_entries())
        used = sum(bytes_ for _, bytes_, _ in entries)
        if used + size > limit:
            for last_use, bytes_, path in entries:
                if last_use >= self._opened:
                    break
                if used + size <= KEPT_SHARE * limit:
                    break
                with suppress(OSError):
                    os.unlink(path)
                used -= bytes_
        if used + size > limit:
            raise OSError(
                errno.EDQUOT, f'limit_gb={self.limit_gb:g} is reached'
            )
        return limit - used - size

    def _list_entries(self) -> Iterator[tuple[float, int, str]]:
        """Time of last use, size and path of each entry."""
        for number in range(256):
            try:
                found = [*os.scandir(self.folder / f'{number:02x}')]
            except OSError:
                continue
            for entry in found:
                with suppress(OSError):
                    status = entry.stat()
                    yield status.st_mtime, status.st_size, entry.path

    def _stop(self, error: OSError) -> None:
        self.stopped = True
        self._warn_once(
            'stopped',
            f'No more frames are stored in the cache {self.folder}: '
            f'{error.strerror or error}. What is there is used; other '
            'videos are decoded each time.',
        )

    def _look_for_former_format(self) -> None:
        shards = [
            path
            for path in self.folder.glob('*.tar')
            if path.with_suffix('.frames').exists()
        ]
        if shards:
            size = sum(path.stat().st_size for path in shards) / GIGABYTE
            self._warn_once(
                'format',
                f'{self.folder} holds {size:.1f} GB of the former format of '
                'the frame cache, which are not used any more. Its files '
                '*.tar, *.frames, *.files and *.lock can be deleted.',
            )

    def _warn_once(self, kind: str, message: str) -> None:
        about = self.folder.absolute(), kind
        if about not in _WARNED:
            _WARNED.add(about)
            self._warn(message)


def _size(content: Sequence[bytes | np.ndarray]) -> int:
    return sum(memoryview(part).nbytes for part in content)


class CachedReader(VideoReader):
    """Answers as the reader of the file does, from the cache where it can.

    Answers are the same, bit by bit, unless the cache stores JPEG. The file
    is opened only if the cache does not know enough; what was read is stored
    together with the frames.

    Args:
        cache: The cache.
        open_reader: Opens the file: ``open_reader(path, short_side=...)``.
        options: What else the stored frames depend on: name and version of
            the reader, sampling; JSON.
        path: The video file.
        short_side: See :class:`VideoReader`.

    Raises:
        UnreadableVideoError: From the reader, not before it is needed.
    """

    def __init__(
        self,
        cache: FrameCache,
        open_reader: Callable[..., VideoReader],
        options: Mapping[str, Any],
        path: str,
        short_side: int | None = None,
    ) -> None:
        super().__init__(path, short_side)
        self._cache = cache
        self._open_reader = open_reader
        self._reader: VideoReader | None = None
        self._query = cache.ask(
            self.path, dict(options, short_side=short_side)
        )
        self._entry = self._query and cache.find(self._query)
        self._facts = self._entry.facts if self._entry else {}
        self._times: np.ndarray | None = None
        self._segments: np.ndarray | None = None
        #: Number of bytes that were added to the cache.
        self.added_bytes = 0

    @property
    def is_stored(self) -> bool:
        """Whether the cache holds frames of what is asked for."""
        return self._entry is not None

    @property
    def original_shape(self) -> tuple[int, int]:
        """See :class:`VideoReader`."""
        return tuple(self._know('original_shape'))

    @property
    def fps(self) -> float:
        """See :class:`VideoReader`."""
        return self._know('fps')

    @property
    def codec(self) -> str:
        """See :class:`VideoReader`."""
        return self._know('codec')

    @property
    def rotation(self) -> int:
        """See :class:`VideoReader`."""
        return self._know('rotation')

    def __len__(self) -> int:
        if 'count' not in self._facts:
            self._facts['count'] = len(self._get_reader())
        return self._facts['count']

    def move_to_kept(
        self, indices: np.ndarray, bounds: np.ndarray
    ) -> np.ndarray:
        """Replace drawn frames by those that the cache keeps of a segment.

        All that it is to keep is stored together with the frames that are
        asked for next. See :func:`snap_to_spread`.
        """
        self._segments = bounds
        return snap_to_spread(indices, bounds, self._cache.frames_per_segment)

    def get_frames(self, indices: Sequence[int]) -> np.ndarray:
        """See :class:`VideoReader`; what was read from the file is stored."""
        frames = self._from_entry(lambda entry: entry.get_frames(indices))
        if frames is not None:
            return frames
        wanted = np.unique(indices)
        if self._segments is not None and self._stores:
            per_segment = self._cache.frames_per_segment
            kept = spread_in_segments(self._segments, per_segment)
            wanted = np.union1d(wanted, kept)
        reader = self._get_reader()
        read = reader.get_frames(wanted)
        encoded = [self._cache.encode(frame) for frame in read]
        if self._stores:
            # Asking decord for it before the frames costs a seek.
            self._facts['original_shape'] = list(reader.original_shape)
            times = self.get_times()
            # A damaged file may hold fewer frames than a reader expected.
            if len(times) == len(self):
                self.added_bytes = self._cache.add(
                    self._query,
                    self._facts,
                    wanted,
                    encoded,
                    read.shape[1:],
                    times,
                )
        # The same frames at the first visit as at later ones.
        rows = np.searchsorted(wanted, indices)
        return np.stack([self._cache.decode(encoded[row]) for row in rows])

    def get_times(self) -> np.ndarray:
        """See :class:`VideoReader`."""
        if self._times is None:
            self._times = self._from_entry(lambda entry: entry.get_times())
        if self._times is None:
            self._times = self._get_reader().get_times()
        return self._times

    def close(self) -> None:
        """See :class:`VideoReader`."""
        if self._reader is not None:
            self._reader.close()
        if self._entry is not None:
            self._entry.close()

    @property
    def _stores(self) -> bool:
        return self._query is not None and not self._cache.stopped

    def _know(self, name: str) -> Any:
        if name not in self._facts:
            self._facts[name] = getattr(self._get_reader(), name)
        return self._facts[name]

    def _from_entry(self, read: Callable[[Entry], Any]) -> Any:
        if self._entry is None:
            return None
        try:
            return read(self._entry)
        except DamagedEntryError:
            # What is read from the file next replaces it.
            self._entry.close()
            self._entry = None
            return None

    def _get_reader(self) -> VideoReader:
        if self._reader is None:
            self._reader = self._open_reader(
                self.path, short_side=self.short_side
            )
        return self._reader
