"""Prepare Free Exercise DB: photographs with instructions, in five folds."""

import argparse
import sys
from pathlib import Path

from tqdm import tqdm

from mmtvr.cli.command import run_command
from mmtvr.cli.prepare import prepare
from mmtvr.datasets.picture_sets import (
    hash_images,
    read_exercises,
    split_exercises,
    write_clip,
    write_picture_captions,
)


def main() -> None:
    """Write clips, and annotations with short and with long captions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'repository', type=Path, help='clone of yuhonas/free-exercise-db'
    )
    parser.add_argument('--output', type=Path, default=Path('data/exercises'))
    options = parser.parse_args()
    exercises = read_exercises(options.repository)
    hashes = hash_images(exercises)
    videos = options.output / 'videos'
    videos.mkdir(parents=True, exist_ok=True)
    for exercise in tqdm(exercises, 'Writing clips', unit='clip'):
        path = videos / f'{exercise.id}.mp4'
        if not path.exists():
            unfinished = path.with_suffix('.unfinished')
            write_clip(exercise, unfinished)
            unfinished.replace(path)
    for name, long in (('short', False), ('long', True)):
        splits = split_exercises(exercises, hashes, long)
        prepare('exercises', splits, options.output / name)
        write_picture_captions(splits, options.output / name)


if __name__ == '__main__':
    sys.exit(run_command(main))
