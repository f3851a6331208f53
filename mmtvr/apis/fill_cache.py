"""The command behind ``tools/data/cache.py``."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev

from mmengine.config import Config, DictAction
from tqdm import tqdm

from mmtvr.apis.cache_jobs import CacheJob, find_jobs
from mmtvr.apis.cache_work import fill, is_cached, load_transform, measure
from mmtvr.apis.crew import Crew
from mmtvr.config.reading import load_config
from mmtvr.errors import SetupError
from mmtvr.files import write_csv
from mmtvr.video.cache.space import GIGABYTE, free_bytes

SPLITS = ('train', 'val', 'test')
MEASURED = 48
NAMES_SHOWN = 5


def main(arguments: Sequence[str] | None = None) -> None:
    """Fill the frame cache of a config.

    Args:
        arguments: Command line; ``sys.argv`` if None.

    Raises:
        SetupError: The config has no cache, the disk is too small, or videos
            cannot be read.
    """
    options = _parse(arguments)
    cfg = load_config(options.config, options.cfg_options)
    jobs = _list_jobs(cfg, options.split)
    problems = {}
    with Crew(options.workers) as crew:
        missing = find_missing(jobs, crew)
        if missing:
            announce(missing, crew)
            problems = fill_all(missing, crew)
    if problems:
        folder = load_transform(jobs[0].transform).frame_cache.folder
        report = options.report or folder / 'unreadable.csv'
        write_problems(report, problems)
        shown = '\n'.join(
            f'  {file}: {problem}'
            for file, problem in list(problems.items())[:NAMES_SHOWN]
        )
        raise SetupError(
            f'{len(problems)} videos cannot be read, all others are in the '
            f'cache. {report} lists them:\n{shown}'
        )
    print(f'{len(jobs):,} videos are in the cache.')


def find_missing(jobs: Sequence[CacheJob], crew: Crew) -> list[CacheJob]:
    """Look for what the cache does not hold yet.

    Args:
        jobs: What it is to hold.
        crew: The processes.

    Returns:
        What is left to do.
    """
    there = crew.run(is_cached, jobs)
    bar = tqdm(there, 'looking', len(jobs), unit='video', mininterval=1)
    return [job for job, found in zip(jobs, bar, strict=True) if not found]


def announce(jobs: Sequence[CacheJob], crew: Crew) -> None:
    """Say how much the cache will grow, before it does.

    The size of all is estimated from some, evenly spread over the list.

    Args:
        jobs: What is to be added, not empty.
        crew: The processes.

    Raises:
        SetupError: If the disk or the limit of the cache is too small.
    """
    some = jobs[:: -(-len(jobs) // MEASURED)]
    bar = tqdm(
        crew.run(measure, some),
        'measuring',
        len(some),
        unit='video',
        mininterval=1,
    )
    sizes = [outcome.size for outcome in bar if outcome.problem is None]
    if not sizes:
        return
    needed = mean(sizes) * len(jobs)
    if len(sizes) < len(jobs):
        # Twice the standard error, to be on the safe side.
        spread = stdev(sizes) if len(sizes) > 1 else mean(sizes)
        needed += 2 * spread / len(sizes) ** 0.5 * len(jobs)
    cache = load_transform(jobs[0].transform).frame_cache
    free = free_bytes(cache.folder) - cache.reserve_gb * GIGABYTE
    if cache.limit_gb is not None:
        free = min(free, cache.limit_gb * GIGABYTE - cache.used_bytes())
    text = (
        f'{len(jobs):,} videos to decode into {cache.folder}: about '
        f'{_show(needed)}, {_show(mean(sizes))} each (from {len(sizes)} of '
        f'them); {_show(max(free, 0))} may be used'
    )
    print(text, flush=True)
    if needed > free:
        raise SetupError(
            f'{text}. Free some space, or take another folder, '
            "coding='jpeg', a smaller short_side or fewer "
            'frames_per_segment in the cache options of LoadVideoFrames.'
        )


def fill_all(jobs: Sequence[CacheJob], crew: Crew) -> dict[str, str]:
    """Decode videos into the cache, and show how it goes.

    Args:
        jobs: What is to be added.
        crew: The processes.

    Returns:
        File to problem, of those that cannot be read.

    Raises:
        SetupError: If the cache takes nothing more.
    """
    problems, written = {}, 0
    outcomes = crew.run(fill, jobs)
    bar = tqdm(outcomes, 'decoding', len(jobs), unit='video', mininterval=1)
    for job, outcome in zip(jobs, bar, strict=True):
        written += outcome.size
        if outcome.problem is not None:
            problems[job.filename] = outcome.problem
        if outcome.stopped:
            bar.close()
            raise SetupError(
                'the cache takes nothing more, see above; what is in it will '
                'be used. Run the command again to go on.'
            )
        bar.set_postfix_str(_show(written), refresh=False)
    return problems


def write_problems(path: Path, problems: dict[str, str]) -> None:
    """List videos that cannot be read.

    Args:
        path: The CSV file.
        problems: File to problem.
    """
    write_csv(path, ['file', 'problem'], problems.items())


def _list_jobs(cfg: Config, splits: Sequence[str] | None) -> list[CacheJob]:
    """Each video once, also if val and test load the same."""
    if splits is None:
        splits = [each for each in SPLITS if cfg.get(f'{each}_dataloader')]
    jobs: dict[CacheJob, None] = {}
    for split in splits:
        found = find_jobs(cfg, split)
        print(f'{split}: {len(found):,} videos')
        jobs.update(dict.fromkeys(found))
    return list(jobs)


def _show(size: float) -> str:
    if size < GIGABYTE:
        return f'{size / 1e6:.1f} MB'
    return f'{size / GIGABYTE:.1f} GB'


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Decode the videos of a config into its frame cache.'
    )
    parser.add_argument(
        'config', help='config file in which LoadVideoFrames has a cache'
    )
    parser.add_argument(
        '--split',
        nargs='+',
        choices=SPLITS,
        help='which loaders to fill it for (default: all of the config)',
    )
    parser.add_argument(
        '--workers',
        type=int,
        default=os.cpu_count() or 1,
        help='processes that decode (default: %(default)s)',
    )
    parser.add_argument(
        '--report',
        type=Path,
        help='where to list videos that cannot be read (default: '
        'unreadable.csv in the folder of the cache)',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override settings: '
        'train_dataloader.dataset.pipeline.0.cache.folder=DIR',
    )
    return parser.parse_args(arguments)
