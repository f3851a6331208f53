"""Reading videos for an index, where one that is broken stops nothing."""

import errno
import multiprocessing
import os
import stat
from collections import Counter
from collections.abc import Iterable, Sequence, Set
from hashlib import blake2b
from typing import Any, NamedTuple

from mmcv.transforms import Compose
from torch.utils.data import DataLoader, Dataset

from mmtvr.distributed.exit_with_parent import ExitWithParent
from mmtvr.errors import SetupError
from mmtvr.files import hash_file
from mmtvr.search.stores.base import KEY_BYTES
from mmtvr.search.video_files import FoundVideo
from mmtvr.video import AutoReader, UnreadableVideoError, VideoReader
from mmtvr.video.supervised_reader import SupervisedReader

METHODS = multiprocessing.get_all_start_methods()
# Windows of a file that may fail, each after its time limit.
MAX_FAILURES = 3
GIVEN_UP = f'{MAX_FAILURES} others of this file could not be read'
START_METHOD = 'forkserver' if 'forkserver' in METHODS else 'spawn'


class ReadVideo(NamedTuple):
    """A video as a worker hands it over.

    Attributes:
        content: Hash of the bytes and the span; empty if the file cannot be
            opened.
        packed: Its frames; None if unreadable, or if its features are known.
        error: Why it cannot be read.
        seconds: How long the video, or the span of it, is; 0 if its loading
            transform does not say.
    """

    content: str
    packed: dict[str, Any] | None = None
    error: str | None = None
    seconds: float = 0.0


class VideosToRead(Dataset):
    """Videos that are hashed and, if their features are not known, read.

    Args:
        videos: The videos.
        pipeline: Reads and packs them.
        known: Contents that need not be read.
    """

    def __init__(
        self,
        videos: Sequence[FoundVideo],
        pipeline: Compose,
        known: Set[str] = frozenset(),
    ) -> None:
        self.videos = videos
        self.pipeline = pipeline
        self.known = known
        self._kept: tuple[str, VideoReader] | None = None
        self._failures: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, index: int) -> ReadVideo:
        video = self.videos[index]
        content = ''
        try:
            content = name_content(video)
            if content in self.known:
                return ReadVideo(content)
            if self._failures[video.path] >= MAX_FAILURES:
                return ReadVideo(content, error=GIVEN_UP)
            packed, seconds = self._read(video)
            return ReadVideo(content, packed, seconds=seconds)
        except Exception as error:
            self._close()
            if _is_about_setup(error):
                raise
            if video.content:
                self._failures[video.path] += 1
            return ReadVideo(content, error=_reason(error, video.path))

    def _read(self, video: FoundVideo) -> tuple[dict[str, Any], float]:
        sample: dict[str, Any] = dict(
            filename=video.path, modality='RGB', start_index=0
        )
        if video.start is not None:
            sample['start'] = video.start
        if video.end is not None:
            sample['end'] = video.end
        reader = self._open_once(video)
        if reader is not None:
            sample['reader'] = reader
        packed = self.pipeline(sample)
        about = packed['data_samples']
        if about.get('frame_times') is None:
            # Loading transforms of others do not give them.
            with AutoReader(video.path) as reader:
                times = reader.get_times()[about.frame_inds]
            about.set_metainfo(dict(frame_times=times))
        # What does not say how long it is knows no spans, so no windows.
        end = about.get('duration', 0.0)
        if video.end is not None:
            end = min(end, video.end)
        return packed, end - (video.start or 0.0)

    def _open_once(self, video: FoundVideo) -> VideoReader | None:
        """The reader that the windows of a file share.

        They follow one another, and to open a long file takes seconds: all
        of its packets are read. None for a video that is no window.
        """
        if not video.content:
            return None
        (loader,) = (
            each
            for each in self.pipeline.transforms
            if hasattr(each, 'open_video')
        )
        if loader.frame_cache is not None:
            # What it holds of a file is that of one span.
            return None
        if self._kept is None or self._kept[0] != video.path:
            self._close()
            reader = loader.open_video(video.path, {})
            self._kept = video.path, reader
        reader = self._kept[1]
        if isinstance(reader, SupervisedReader):
            reader.restart_time_limit()
        return reader

    def _close(self) -> None:
        if self._kept is not None:
            self._kept[1].close()
        self._kept = None


def load_batches(
    videos: VideosToRead, batch_size: int, workers: int
) -> Iterable[list[ReadVideo]]:
    """Read videos in batches, in ``workers`` processes; 0 for this one."""
    return DataLoader(
        videos,
        batch_size,
        num_workers=workers,
        collate_fn=list,
        worker_init_fn=ExitWithParent(),
        # LanceDB has threads, which a fork does not survive safely.
        multiprocessing_context=START_METHOD if workers else None,
    )


def name_content(video: FoundVideo) -> str:
    """Name what a file and its span show, whatever the file is called.

    Raises:
        OSError: The file cannot be opened, or is a pipe or a device, which
            might never end.
    """
    if video.content:
        return video.content
    if not stat.S_ISREG(os.stat(video.path).st_mode):
        raise OSError(errno.EINVAL, 'it is not a regular file')
    content = hash_file(video.path, KEY_BYTES)
    if video.start is None and video.end is None:
        return content
    span = f'{content} {video.start} {video.end}'
    return blake2b(span.encode(), digest_size=KEY_BYTES).hexdigest()


def _is_about_setup(error: Exception) -> bool:
    return isinstance(error, SetupError) and not isinstance(
        error.__cause__, UnreadableVideoError
    )


def _reason(error: Exception, path: str) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = str(error.__cause__ or error).strip().splitlines()
    reason = lines[-1] if lines else type(error).__name__
    return reason.removeprefix(f'{path}: ')
