"""From a file name to the frames that the model sees."""

import functools
import inspect
import logging
import os
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.logging import print_log
from torch.utils.data import get_worker_info

from mmtvr.datasets.readers import get_reader
from mmtvr.datasets.unreadable_videos import UnreadableVideos
from mmtvr.errors import SetupError
from mmtvr.registry import TRANSFORMS
from mmtvr.video import UnreadableVideoError, VideoReader
from mmtvr.video.cache import CachedReader, FrameCache, decoder_versions
from mmtvr.video.sampling import (
    fill_up,
    find_duration,
    find_span,
    sample_per_second,
    sample_uniformly,
    segment_bounds,
)
from mmtvr.video.supervised_reader import supervise


@dataclass(frozen=True)
class FrameChoice:
    """How positions are chosen; see ``LoadVideoFrames`` for the options."""

    num_frames: int
    sampling: str
    fps: float
    short_videos: str

    def __post_init__(self) -> None:
        if self.num_frames < 1:
            raise ValueError(
                f'num_frames must be positive, got {self.num_frames}'
            )
        if self.fps <= 0:
            raise ValueError(f'fps must be positive, got {self.fps}')
        if self.sampling not in ('uniform', 'fps'):
            raise ValueError(
                f"sampling is 'uniform' or 'fps', not {self.sampling!r}"
            )
        if self.short_videos not in ('repeat', 'mask'):
            raise ValueError(
                f"short_videos is 'repeat' or 'mask', not "
                f'{self.short_videos!r}'
            )

    def choose(
        self, reader: VideoReader, results: dict, random: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Choose frames.

        Args:
            reader: The video. From one of a cache, random frames are those
                that it keeps.
            results: The sample: ``filename``, and ``start`` and ``end`` of
                its time span if it has one.
            random: Draw a frame of each segment; False: take its centre.

        Returns:
            Positions in the file, shape (T,), int64, and where there is a
            frame, shape (T,), bool.

        Raises:
            UnreadableVideoError: If the span begins after the last frame.
        """
        first, count = self._find_span(reader, results)
        if self.sampling == 'fps':
            times = reader.get_times()[first : first + count]
            chosen = sample_per_second(times, self.num_frames, self.fps)
            return fill_up(first + chosen, self.num_frames, self.short_videos)
        if count < self.num_frames:
            every = first + np.arange(count)
            return fill_up(every, self.num_frames, self.short_videos)
        indices = first + sample_uniformly(count, self.num_frames, random)
        if random and isinstance(reader, CachedReader):
            bounds = first + segment_bounds(count, self.num_frames)
            indices = reader.move_to_kept(indices, bounds)
        return indices, np.ones(self.num_frames, dtype=bool)

    def _find_span(
        self, reader: VideoReader, results: dict
    ) -> tuple[int, int]:
        start, end = results.get('start'), results.get('end')
        if 'start' not in results and 'end' not in results:
            return 0, len(reader)
        try:
            return find_span(reader.get_times(), start, end)
        except ValueError as error:
            raise UnreadableVideoError(
                f'{results["filename"]}: {error}'
            ) from error


#: Arguments that do not change frames.
WITHOUT_EFFECT = ('cache', 'time_limit')


def open_cache(options: Mapping[str, Any]) -> FrameCache:
    """Open a frame cache.

    Args:
        options: Arguments of :class:`mmtvr.video.cache.FrameCache`, the
            ``folder`` at least.

    Returns:
        The cache; when it stops storing, the log of the run says so.

    Raises:
        SetupError: If an option is unknown or the folder is a file.
        ValueError: If an option is out of its range.
    """
    *known, host, _ = inspect.signature(FrameCache).parameters
    unknown = [name for name in options if name not in (*known, host)]
    if unknown or not options.get('folder'):
        raise SetupError(
            f'cache={dict(options)} of LoadVideoFrames: expected folder and '
            f'optionally {", ".join(known[1:])}'
        )
    cache = FrameCache(**options, warn=_warn)
    if cache.folder.exists() and not cache.folder.is_dir():
        raise SetupError(
            f'{cache.folder} is to be the folder of the frame cache, but is '
            'a file; name another in cache=dict(folder=...)'
        )
    return cache


def describe_loading(
    transform: BaseTransform, results: Mapping[str, Any]
) -> dict[str, Any]:
    """Say what the frames of a sample depend on, besides the file.

    Args:
        transform: Loads the frames. All arguments of its class count but
            those that only say where and how long; each is an attribute.
        results: The sample, for its time span.

    Returns:
        JSON, all but what has to be shown by its ``repr``.
    """
    kind = type(transform)
    names = _argument_names(kind)
    options = {name: getattr(transform, name, None) for name in names}
    per_segment = transform.frame_cache.frames_per_segment
    return dict(
        transform=kind.__name__,
        options=options,
        kept=None if transform.test_mode else per_segment,
        span=[results.get('start'), results.get('end')],
        versions=decoder_versions(),
    )


@functools.cache
def _argument_names(kind: type) -> list[str]:
    names = inspect.signature(kind).parameters
    return [name for name in names if name not in WITHOUT_EFFECT]


def _warn(message: str) -> None:
    """Log for all processes and workers of this machine once."""
    worker = get_worker_info()
    first = worker is None or worker.id == 0
    if first and os.environ.get('LOCAL_RANK', '0') == '0':
        print_log(message, 'current', logging.WARNING)


@TRANSFORMS.register_module()
class LoadVideoFrames(BaseTransform):
    """Read frames spread over a video, at a reduced size if asked.

    The file is opened and closed within the call, so nothing crosses a fork
    or is pickled. mmaction2's ``Resize``, ``CenterCrop``,
    ``RandomResizedCrop``, ``Flip`` and ``FormatShape`` work on the result.

    **Required Keys:**

    - filename: path of the video
    - start, end (optional): time span in seconds to choose frames from
    - reader (optional): the video, opened by :meth:`open_video`; it stays
      open, for other spans of the same file

    **Added Keys:**

    - imgs: list of T arrays (H, W, 3), uint8, RGB
    - frame_inds: (T,) int64, positions in the file, see
      :func:`sample_uniformly`
    - frame_times: (T,) seconds from the first frame of the file
    - frame_mask: (T,) bool, False for padding, see ``short_videos``
    - total_frames: number of frames in the file
    - duration: seconds from the first frame of the file to the end of the
      last
    - original_shape, img_shape: (H, W) as stored, and as decoded
    - num_clips (1), clip_len (T), modality ('RGB'): for mmaction2

    Args:
        num_frames (int): T.
        test_mode (bool): Take the centre of each segment. False: a random
            frame of each segment, and a video that cannot be read gives None,
            so that the dataset draws another sample.
        short_side (int, optional): Decode larger videos at a size whose
            short side has this many pixels. Videos are never enlarged: let a
            resize follow. Defaults to None: decode as stored.
        reader (str | dict): ``'auto'``, which decodes single frames where
            that is exact and reads in order elsewhere; ``'decord'``,
            ``'pyav'`` or ``'torchcodec'``; with options,
            ``dict(type='mmtvr.TorchCodecReader', seek_mode='approximate')``.
        cache (dict, optional): Keep decoded frames: ``dict(folder=...)`` and
            further options of :class:`mmtvr.video.cache.FrameCache`. Random
            sampling then draws among ``frames_per_segment`` frames of each
            segment. Defaults to None: decode at every visit.
        time_limit (float, optional): Seconds that reading one video may take;
            it happens in a decoder process, which is killed then, see
            :class:`mmtvr.video.supervised_reader.SupervisedReader`. A video
            that took too long twice, or killed the decoder twice, is not
            tried again. Defaults to 60; None: read in the process itself.
        sampling (str): ``'uniform'``, one frame of each segment, see
            :func:`sample_uniformly`; or ``'fps'``, ``fps`` frames per second,
            then thinned to T, see :func:`sample_per_second`, which draws
            nothing.
        fps (float): Frames per second of the latter.
        short_videos (str): What fewer frames than T become: ``'repeat'``,
            as in mmaction2, or ``'mask'``, black frames after them that count
            nowhere, as in CLIP4Clip.

    Raises:
        SetupError: In test mode, if the video cannot be read.
    """

    def __init__(
        self,
        num_frames: int = 12,
        test_mode: bool = False,
        short_side: int | None = None,
        reader: str | dict = 'auto',
        cache: dict | None = None,
        time_limit: float | None = 60.0,
        sampling: Literal['uniform', 'fps'] = 'uniform',
        fps: float = 1.0,
        short_videos: Literal['repeat', 'mask'] = 'repeat',
    ) -> None:
        if short_side is not None and short_side < 1:
            raise ValueError(f'short_side must be positive, got {short_side}')
        self._choice = FrameChoice(num_frames, sampling, fps, short_videos)
        self.sampling, self.fps = sampling, fps
        self.short_videos = short_videos
        self.num_frames = num_frames
        self.test_mode = test_mode
        self.short_side = short_side
        self.reader = reader
        self.time_limit = time_limit
        self._open = supervise(get_reader(reader), time_limit)
        self.cache = cache
        self.frame_cache = None if cache is None else open_cache(cache)
        self._unreadable = UnreadableVideos()

    def transform(self, results: dict) -> dict | None:
        """Read the frames of one sample, or return None, see ``test_mode``."""
        path = str(results['filename'])
        try:
            if not self.test_mode:
                self._unreadable.check(path)
            frames = self._load(results)
        except UnreadableVideoError as error:
            if self.test_mode:
                raise SetupError(f'Unreadable video {error}') from error
            self._unreadable.note(path, error)
            return None
        return {**results, **frames}

    @property
    def about(self) -> dict[str, str]:
        """Reader and sampling, for reports."""
        reader = self.reader
        if not isinstance(reader, str):
            reader = ', '.join(f'{k}={v}' for k, v in reader.items())
        frames = f'{self.num_frames} per video, '
        if self.sampling == 'fps':
            frames += f'from {self.fps:g} per second, thinned evenly'
        elif self.test_mode:
            frames += 'the middle of equal segments'
        else:
            frames += 'a random one of each of equal segments'
        return dict(decoder=reader, frames=frames)

    def take_unreadable(self) -> list[tuple[str, str]]:
        """File and reason of each failure since the last call."""
        return self._unreadable.take()

    def find_problem(self, results: dict) -> str | None:
        """Why a test could not read a sample; None if it can. Thread-safe."""
        try:
            self.count_frames(results)
        except UnreadableVideoError as error:
            return str(error).removeprefix(f'{results["filename"]}: ')
        return None

    def count_frames(self, results: dict) -> int:
        """Read what a test would read of a sample; count distinct frames.

        Raises:
            UnreadableVideoError: If it cannot be read.
        """
        trial = copy(self)
        trial.test_mode, trial.frame_cache = True, None
        found = trial._load(results)
        return len(np.unique(found['frame_inds'][found['frame_mask']]))

    def _load(self, results: dict) -> dict:
        if 'reader' in results:
            return self._read(results['reader'], results)
        path = str(results['filename'])
        with self.open_video(path, results) as reader:
            return self._read(reader, results)

    def cache_video(self, results: dict) -> int:
        """Have the cache hold the frames of a sample.

        Args:
            results: Sample with the required keys.

        Returns:
            Number of bytes that were added; 0 if they are there, or if the
            cache has stopped.

        Raises:
            UnreadableVideoError: If the video cannot be read.
        """
        with self.open_video(str(results['filename']), results) as reader:
            if not reader.is_stored:
                self._read(reader, results)
            return reader.added_bytes

    def open_video(self, path: str, results: dict) -> VideoReader:
        """Open the video of a sample, or what the cache has of it.

        Args:
            path: The video file.
            results: The sample, for its time span.

        Returns:
            The reader.
        """
        if self.frame_cache is None:
            return self._open(path, short_side=self.short_side)
        return CachedReader(
            self.frame_cache,
            self._open,
            describe_loading(self, results),
            path,
            self.short_side,
        )

    def _read(self, reader: VideoReader, results: dict) -> dict:
        random = not self.test_mode
        indices, mask = self._choice.choose(reader, results, random)
        frames = reader.get_frames(indices[mask])
        padding = [np.zeros_like(frames[0])] * (self.num_frames - len(frames))
        imgs = [*frames, *padding]
        times = reader.get_times()
        return dict(
            imgs=imgs,
            frame_inds=indices,
            frame_times=times[indices],
            frame_mask=mask,
            total_frames=len(reader),
            duration=find_duration(times),
            original_shape=reader.original_shape,
            img_shape=imgs[0].shape[:2],
            num_clips=1,
            clip_len=self.num_frames,
            modality='RGB',
        )

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(num_frames={self.num_frames}, '
            f'test_mode={self.test_mode}, short_side={self.short_side}, '
            f'reader={self.reader!r}, cache={self.cache!r}, '
            f'time_limit={self.time_limit}, sampling={self.sampling!r}, '
            f'fps={self.fps}, short_videos={self.short_videos!r})'
        )
