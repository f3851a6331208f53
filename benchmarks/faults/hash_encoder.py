"""Files and an encoder that stand for videos and a model, and cost nothing."""

import random
import shutil
import time
from collections.abc import Iterator, Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np

from mmtvr.search.encoder import EncodedVideo, VideoFeatures
from mmtvr.search.video_dataset import name_content
from mmtvr.search.video_files import FoundVideo

WIDTH, FRAMES = 16, 4
SECONDS_PER_VIDEO = 0.004
ALL = 2**30
BROKEN = b'broken'


class HashEncoder:
    """Stands for a model: features are drawn by the hash of the file.

    Args:
        progress: Its ``value`` counts the files, and is ``ALL`` after them.
    """

    def __init__(self, progress: Any) -> None:
        self.progress = progress

    def encode_videos(
        self,
        videos: Sequence[FoundVideo],
        workers: int = 0,
        known: Set[str] = frozenset(),
    ) -> Iterator[EncodedVideo]:
        """See :class:`mmtvr.search.encoder.RetrievalEncoder`."""
        for video in videos:
            time.sleep(SECONDS_PER_VIDEO)
            self.progress.value += 1
            content = name_content(video)
            if content in known:
                yield EncodedVideo(content)
            elif Path(video.path).read_bytes().startswith(BROKEN):
                yield EncodedVideo(content, error='broken')
            else:
                yield EncodedVideo(content, draw(content))
        self.progress.value = ALL


def draw(content: str) -> VideoFeatures:
    """Draw features.

    Args:
        content: Hexadecimal seed.

    Returns:
        The same for the same content.
    """
    rng = np.random.default_rng(int(content, 16))
    tokens = rng.standard_normal((FRAMES, WIDTH)).astype(np.float32)
    tokens /= np.linalg.norm(tokens, axis=1, keepdims=True)
    pooled = tokens.mean(0)
    times = np.arange(FRAMES, dtype=np.float32)
    return VideoFeatures(pooled / np.linalg.norm(pooled), tokens, times)


def make_files(folder: Path, count: int, rng: random.Random) -> None:
    """Write files that stand for videos, every 29th unreadable.

    Args:
        folder: Where; made here.
        count: How many.
        rng: Chooses their content.
    """
    (folder / 'more').mkdir(parents=True)
    for number in range(count):
        start = BROKEN if number % 29 == 3 else b''
        path = folder / ('more' if number % 2 else '.') / f'{number}.mp4'
        path.write_bytes(start + rng.randbytes(100))


def change(folder: Path, rng: random.Random) -> None:
    """Copy, rename, change and remove a third of the files.

    Args:
        folder: The files.
        rng: Chooses them.
    """
    files = sorted(folder.rglob('*.mp4'))
    for path in rng.sample(files, len(files) // 3):
        action = rng.choice(('rename', 'write', 'write', 'remove', 'copy'))
        other = path.with_name(f'{rng.randrange(10**9)}.mp4')
        if action == 'rename':
            path.rename(other)
        elif action == 'copy':
            shutil.copy(path, other)
        elif action == 'remove':
            path.unlink()
        else:
            path.write_bytes(rng.randbytes(100))
