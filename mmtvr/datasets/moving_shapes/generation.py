"""Draw the data set once, whole or not at all."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from filelock import FileLock
from tqdm import tqdm

from mmtvr.errors import SetupError

from .drawing import draw_frames
from .scene import draw_scenes, tell_shots, write_caption
from .video_file import write_video

# Raise it with every change to what is drawn or told, so that a folder that
# an older version made is not taken for a new one.
VERSION = 1
RECORD = 'moving_shapes.json'
ANNOTATIONS = 'annotations.json'


def ensure_moving_shapes(
    folder: str | os.PathLike[str],
    split: str,
    num_videos: int,
    seed: int,
) -> Path:
    """Draw one split if it is not there yet.

    Several processes may ask at once: one draws, the others wait.

    Args:
        folder: Folder of the data set; the split gets a subfolder with
            ``annotations.json`` and ``videos/``.
        split: Name of the split; splits of one seed share no random numbers.
        num_videos: Number of videos.
        seed: Everything is drawn from it.

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
        f'for {record}. Delete the folder to draw it anew, or set another '
        'data_root.'
    )


def _draw(target: Path, record: dict) -> None:
    split, count, seed = (
        record[key] for key in ('split', 'num_videos', 'seed')
    )
    rng = np.random.default_rng([seed, *split.encode()])
    scenes = draw_scenes(count, rng)
    with _whole_or_not(target) as folder:
        (folder / 'videos').mkdir()
        captions = {}
        pairs = zip(scenes, rng.spawn(count), strict=True)
        title = f'Drawing moving shapes, {split}'
        for number, (scene, own_rng) in enumerate(
            tqdm(pairs, title, count, unit='video', mininterval=1)
        ):
            name = f'video{number}.mp4'
            frames = draw_frames(scene, own_rng)
            write_video(folder / 'videos' / name, frames)
            captions[name] = [write_caption(t) for t in tell_shots(scene)]
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
