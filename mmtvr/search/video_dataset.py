"""Reading videos for an index, where one that is broken stops nothing."""

import errno
import multiprocessing
import os
import stat
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
from mmtvr.video import AutoReader, UnreadableVideoError

METHODS = multiprocessing.get_all_start_methods()
START_METHOD = 'forkserver' if 'forkserver' in METHODS else 'spawn'


class ReadVideo(NamedTuple):
    """A video as a worker hands it over.

    Attributes:
        content: Hash of the bytes and the span; empty if the file cannot be
            opened.
        packed: Its frames; None if unreadable, or if its features are known.
        error: Why it cannot be read.
    """

    content: str
    packed: dict[str, Any] | None = None
    error: str | None = None


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

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, index: int) -> ReadVideo:
        video = self.videos[index]
        content = ''
        try:
            content = name_content(video)
            if content in self.known:
                return ReadVideo(content)
            return ReadVideo(content, self._read(video))
        except Exception as error:
            if _is_about_setup(error):
                raise
            return ReadVideo(content, error=_reason(error, video.path))

    def _read(self, video: FoundVideo) -> dict[str, Any]:
        sample: dict[str, Any] = dict(
            filename=video.path, modality='RGB', start_index=0
        )
        if video.start is not None:
            sample['start'] = video.start
        if video.end is not None:
            sample['end'] = video.end
        packed = self.pipeline(sample)
        about = packed['data_samples']
        if about.get('frame_times') is None:
            # Loading transforms of others do not give them.
            with AutoReader(video.path) as reader:
                times = reader.get_times()[about.frame_inds]
            about.set_metainfo(dict(frame_times=times))
        return packed


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
