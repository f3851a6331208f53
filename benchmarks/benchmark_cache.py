"""What the frame cache saves: first epoch, second epoch, and without it.

``python -m benchmarks.benchmark_cache FOLDER ...`` loads the videos of
each folder as training does, with random frames, transforms and two workers,
and likewise videos of moving shapes that it draws. Each way takes its turn in
every round; workers live on, so that none is started within a round.
"""

import argparse
import itertools
import shutil
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from torch.utils.data import DataLoader

from benchmarks.cache_visits import WAYS, Videos, Visit, Visits
from benchmarks.measuring import ratio, report
from mmtvr.apis.video_folder import find_videos
from mmtvr.datasets import stack_samples
from mmtvr.datasets.moving_shapes.generation import ensure_moving_shapes

BASE = 'no cache'


def measure(
    files: list[str], videos: Videos, workers: int, repeats: int
) -> dict[str, list[float]]:
    """Time epochs of each way in turn.

    Args:
        files: The videos.
        videos: What loads them.
        workers: Number of processes that load.
        repeats: Rounds after one that warms up.

    Returns:
        Seconds per sample of each round by way.
    """
    visits = Visits()
    loader = DataLoader(
        videos,
        batch_size=8,
        sampler=visits,
        num_workers=workers,
        collate_fn=stack_samples if videos.transform else list,
        persistent_workers=True,
    )
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for number, way in itertools.product(range(repeats + 1), WAYS):
        epoch = number if way == 'first epoch' else 0
        visits.waiting = [Visit(way, epoch, file) for file in files]
        start = time.perf_counter()
        for _ in loader:
            pass
        taken = (time.perf_counter() - start) / len(files)
        if number:
            seconds[way].append(taken)
            if way == 'first epoch':
                shutil.rmtree(videos.folder / f'epoch {epoch}')
    return seconds


def rows_of(
    name: str,
    loading: dict[str, list[float]],
    all_steps: dict[str, list[float]],
) -> list[dict]:
    """Make the rows of the table.

    Args:
        name: Name of the videos.
        loading: From :func:`measure`, with the first transform alone.
        all_steps: From :func:`measure`.

    Returns:
        One row per way.
    """
    return [
        {
            'videos': name,
            'way': way,
            'load, ms': 1000 * median(loading[way]),
            'times faster': ratio(loading[BASE], loading[way]),
            'and transform, ms': 1000 * median(all_steps[way]),
            'times faster, both': ratio(all_steps[BASE], all_steps[way]),
        }
        for way in WAYS
    ]


def main() -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('folders', type=Path, nargs='*')
    parser.add_argument('--shapes', type=int, default=100)
    parser.add_argument('--visits', type=int, default=4, help='of each file')
    parser.add_argument('--workers', type=int, default=2)
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--out', type=Path)
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        groups = {
            folder.name: [folder / file for file in find_videos(folder)[0]]
            for folder in args.folders
        }
        shapes = ensure_moving_shapes(scratch, 'test', args.shapes, 0)
        groups['moving shapes'] = sorted((shapes / 'videos').iterdir())
        for group, paths in groups.items():
            drawn = group == 'moving shapes'
            files = make_copies(paths, scratch / f'{group} files', args.visits)
            seconds = [
                measure(
                    files,
                    Videos(
                        scratch / f'{group} {transform}',
                        8 if drawn else 12,
                        not drawn,
                        transform,
                    ),
                    args.workers,
                    args.repeats,
                )
                for transform in (False, True)
            ]
            rows += rows_of(group, *seconds)
    report('Loading with a frame cache', rows, 'cpu', args.out)


def make_copies(paths: list[Path], folder: Path, count: int) -> list[str]:
    """Copy videos so that each copy is another to the cache.

    Args:
        paths: The videos.
        folder: Where to.
        count: Number of copies.

    Returns:
        The copies.
    """
    folder.mkdir()
    copies = []
    for number, path in itertools.product(range(count), paths):
        copy = folder / f'{number}-{path.name}'
        # Bytes behind the end, which no decoder looks at.
        copy.write_bytes(path.read_bytes() + bytes(number))
        copies.append(str(copy))
    return copies


if __name__ == '__main__':
    sys.exit(main())
