"""The embedded data set, drawn once as mp4 files, whole or not at all."""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
from filelock import FileLock
from tqdm import tqdm

from mmtvr.datasets.moving_shapes.fine_grained import make_shape_captions
from mmtvr.datasets.moving_shapes.long import Story, draw_stories
from mmtvr.datasets.moving_shapes.scene import (
    draw_frames,
    draw_scenes,
    tell_pairs,
    write_caption,
)
from mmtvr.datasets.text_video import TextVideoDataset
from mmtvr.errors import SetupError
from mmtvr.registry import DATASETS

FRAMES_PER_SECOND = 4


def write_video(path: Path, frames: Sequence[np.ndarray]) -> None:
    """Encode frames (H, W, 3), uint8 RGB, with H.264, each a keyframe."""
    height, width = frames[0].shape[:2]
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('libx264', rate=FRAMES_PER_SECOND)
        stream.width, stream.height = width, height
        stream.pix_fmt = 'yuv420p'
        stream.thread_count = 1
        stream.options = {
            'crf': '20',
            'bf': '0',
            'g': '1',
            'preset': 'ultrafast',
            'tune': 'fastdecode',
        }
        for frame in frames:
            image = av.VideoFrame.from_ndarray(frame, format='rgb24')
            container.mux(stream.encode(image))
        container.mux(stream.encode())


# Raise it with every change to videos or captions, so that a folder that an
# older version made is not taken for a new one.
VERSION = 1
RECORD = 'moving_shapes.json'
ANNOTATIONS = 'annotations.json'


def ensure_moving_shapes(
    folder: str | os.PathLike[str],
    split: str,
    num_videos: int,
    seed: int,
    long: bool = False,
) -> Path:
    """Draw one split if it is not there yet.

    Several processes may ask at once: one draws, the others wait.

    Args:
        folder: Folder of the data set; the split gets a subfolder with
            ``annotations.json`` and ``videos/``.
        split: Name of the split; splits of one seed share no random numbers.
        num_videos: Number of videos.
        seed: Everything is drawn from it.
        long: Draw videos of five shots, see :func:`draw_stories`.

    Returns:
        The folder of the split.

    Raises:
        SetupError: If the folder holds a split that was drawn with other
            settings or by another version, or something else.
    """
    target = Path(folder) / split
    record = dict(
        version=VERSION, split=split, num_videos=num_videos, seed=seed
    )
    if long:
        record['long'] = True
    if not _is_drawn(target, record):
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_suffix('.lock')):
            if not _is_drawn(target, record):
                _draw(target, record)
    return target


def _is_drawn(target: Path, record: dict) -> bool:
    if not target.exists():
        return False
    try:
        found = json.loads((target / RECORD).read_text())
    except (OSError, ValueError):
        found = None
    if found == record:
        return True
    raise SetupError(
        f'{target} holds {found or "something else"}, but the config asks '
        f'for {record}. Delete the folder to draw it again, or set another '
        'data_root.'
    )


def draw_split(
    split: str, count: int, seed: int, long: bool = False
) -> tuple[list[Story], np.random.Generator]:
    """Draw what a split shows and tells; the rest of the draws are frames."""
    rng = np.random.default_rng([seed, *split.encode()])
    if long:
        return draw_stories(count, rng), rng
    told = tell_pairs()
    return [Story(scene, told) for scene in draw_scenes(count, rng)], rng


def _draw(target: Path, record: dict) -> None:
    split, count, seed = (
        record[key] for key in ('split', 'num_videos', 'seed')
    )
    stories, rng = draw_split(split, count, seed, record.get('long', False))
    with _whole_or_not(target) as folder:
        (folder / 'videos').mkdir()
        captions = {}
        pairs = zip(stories, rng.spawn(count), strict=True)
        title = f'Drawing moving shapes, {split}'
        for number, (story, own_rng) in enumerate(
            tqdm(pairs, title, count, unit='video', mininterval=1)
        ):
            name = f'video{number}.mp4'
            frames = draw_frames(story.scene, own_rng)
            write_video(folder / 'videos' / name, frames)
            captions[name] = [write_caption(t) for t in story.described()]
        (folder / ANNOTATIONS).write_text(json.dumps(captions, indent=0))
        (folder / RECORD).write_text(json.dumps(record))


@contextmanager
def _whole_or_not(target: Path) -> Iterator[Path]:
    """Give a new folder that gets its name if all goes well, or vanishes.

    The caller holds the lock, so what lies there is of a process that was
    killed.
    """
    folder = target.with_name(f'.{target.name}-unfinished')
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
        folder.rename(target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@DATASETS.register_module()
class MovingShapesDataset(TextVideoDataset):
    """Videos of coloured shapes in three or five shots, drawn on first use.

    Each video has three captions that describe two of its three shots, such
    as ``a red circle rising then a green cross resting``. They come in
    pairs that differ in a few words, and no caption is true of another video
    of the split. With ``long`` a video has five shots, and its three captions
    describe one, two and three of them.
    The files are real mp4 and JSON, read as those of any other data set.

    Args:
        data_root (str): Folder that the splits are drawn into.
        split (str): Name of the split, ``'train'`` or ``'test'``.
        num_videos (int): Number of videos of the split.
        seed (int): Everything is drawn from it.
        long (bool): Draw five shots.
        **kwargs: Arguments of :class:`TextVideoDataset`.

    Raises:
        SetupError: If the folder holds a split of other settings.
    """

    METAINFO = dict(dataset_type='moving_shapes')

    def __init__(
        self,
        data_root: str = 'data/moving_shapes',
        split: str = 'train',
        num_videos: int = 300,
        seed: int = 0,
        long: bool = False,
        **kwargs: object,
    ) -> None:
        folder = ensure_moving_shapes(data_root, split, num_videos, seed, long)
        self._drawn = split, num_videos, seed, long
        super().__init__(ann_file=ANNOTATIONS, data_root=str(folder), **kwargs)

    def make_fine_grained(self) -> dict:
        """Partial captions and twins, right by construction.

        See :func:`make_shape_captions`.
        """
        stories, _ = draw_split(*self._drawn)
        return make_shape_captions(stories)
