"""Ways to get the frames of a video that a model sees, to be compared."""

from collections.abc import Callable

import cv2
import numpy as np
from mmaction.datasets import transforms as mmaction
from mmcv.transforms import Compose
from PIL import Image

from mmtvr.datasets.transforms import LoadVideoFrames

#: Takes a path, returns (T, 3, size, size), uint8.
Way = Callable[[str], np.ndarray]
TIME_LIMIT = 60.0


def make_ways(num_frames: int, size: int) -> dict[str, Way]:
    """Prepare all ways, as their authors configure them.

    Args:
        num_frames: T.
        size: Short side, and side of the crop.

    Returns:
        The ways by name: ``test`` and ``train`` are ours, ``decord`` is
        mmaction2's, ``opencv`` that of the CLIP4Clip family.
    """
    return dict(
        test=Mmtvr(num_frames, size, test_mode=True),
        train=Mmtvr(num_frames, size, test_mode=False),
        decord=Decord(num_frames, size),
        opencv=OncePerSecond(num_frames, size),
    )


class Mmtvr:
    """The pipeline of ``configs/_base_/datasets/msrvtt.py``, up to the text.

    Args:
        num_frames: Frames per video.
        size: Short side, and side of the crop.
        test_mode: See :class:`LoadVideoFrames`.
        time_limit: Likewise; None reads without a helper process.
    """

    def __init__(
        self,
        num_frames: int,
        size: int,
        test_mode: bool,
        time_limit: float | None = TIME_LIMIT,
    ) -> None:
        self._pipeline = Compose(
            [
                LoadVideoFrames(
                    num_frames,
                    test_mode=test_mode,
                    short_side=size,
                    time_limit=time_limit,
                ),
                mmaction.Resize((-1, size), interpolation='bicubic'),
                mmaction.CenterCrop(size),
                mmaction.FormatShape('NCHW'),
            ]
        )

    def __call__(self, path: str) -> np.ndarray:
        """Read a video, see ``Way``."""
        return self._pipeline(dict(filename=path))['imgs']


class Decord:
    """mmaction2's pipeline for CLIP4Clip, with its default options.

    Args:
        num_frames: Frames per video.
        size: Short side, and side of the crop.
    """

    def __init__(self, num_frames: int, size: int) -> None:
        self._pipeline = Compose(
            [
                mmaction.DecordInit(),
                mmaction.UniformSample(
                    clip_len=num_frames, num_clips=1, test_mode=True
                ),
                mmaction.DecordDecode(),
                mmaction.Resize((-1, size)),
                mmaction.CenterCrop(size),
                mmaction.FormatShape('NCHW'),
            ]
        )

    def __call__(self, path: str) -> np.ndarray:
        """Read a video, see ``Way``."""
        sample = dict(filename=path, start_index=0, modality='RGB')
        return self._pipeline(sample)['imgs']


class OncePerSecond:
    """One frame per second of the whole clip, then thinned, with OpenCV.

    For each second the position is set and one frame read, turned to RGB,
    and resized and cropped with Pillow, as the CLIP4Clip family does. The
    conversion to normalized floats, which it does here too, is left out.

    Args:
        num_frames: Frames per video; fewer for shorter videos.
        size: Short side, and side of the crop.
    """

    def __init__(self, num_frames: int, size: int) -> None:
        self._num_frames, self._size = num_frames, size

    def __call__(self, path: str) -> np.ndarray:
        """Read a video, see ``Way``; black frames follow a short one."""
        video = cv2.VideoCapture(path)
        rate = max(int(video.get(cv2.CAP_PROP_FPS)), 1)
        count = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
        pictures = []
        for position in range(0, count, rate):
            video.set(cv2.CAP_PROP_POS_FRAMES, position)
            found, frame = video.read()
            if not found:
                break
            pictures.append(self._shape(frame))
        video.release()
        return self._thin(pictures)

    def _shape(self, frame: np.ndarray) -> np.ndarray:
        picture = Image.fromarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
        scale = self._size / min(picture.size)
        width, height = (round(scale * side) for side in picture.size)
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
        left, top = (width - self._size) // 2, (height - self._size) // 2
        box = left, top, left + self._size, top + self._size
        return np.asarray(picture.crop(box)).transpose(2, 0, 1)

    def _thin(self, pictures: list[np.ndarray]) -> np.ndarray:
        chosen = np.arange(len(pictures))
        if len(pictures) > self._num_frames:
            chosen = np.linspace(0, len(pictures) - 1, self._num_frames)
        shape = self._num_frames, 3, self._size, self._size
        frames = np.zeros(shape, np.uint8)
        for row, index in enumerate(chosen.astype(int)):
            frames[row] = pictures[index]
        return frames
