"""``mmtvr cache`` and ``tools/data/cache.py``: fill the frame cache."""

import argparse
import functools
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any, NamedTuple

from mmengine.config import Config, ConfigDict
from tqdm import tqdm

from mmtvr.cli.command import HelpFormatter, run_command
from mmtvr.config import ConfigOptions, load_config, walk
from mmtvr.datasets.video_check import thread_map
from mmtvr.errors import SetupError
from mmtvr.files import write_csv
from mmtvr.registry import DATASETS, TRANSFORMS
from mmtvr.video import UnreadableVideoError
from mmtvr.video.cache import GIGABYTE, Entry, FrameCache, Query, free_bytes

if TYPE_CHECKING:
    from mmtvr.datasets.transforms import LoadVideoFrames

SPLITS = ('train', 'val', 'test')
MEASURED = 48
NAMES_SHOWN = 5
EXAMPLES = """
examples:
  mmtvr cache CONFIG
  mmtvr cache tpmcl_msrvtt --split train --cfg-options \\
      train_dataloader.dataset.pipeline.0.cache.folder=data/frame_cache
"""


class CacheJob(NamedTuple):
    """A video, or a span of one in seconds, as one transform loads it."""

    #: JSON of its options.
    transform: str
    filename: str
    start: float | None
    end: float | None

    @property
    def sample(self) -> dict[str, Any]:
        """What the transform is given."""
        span = dict(start=self.start, end=self.end)
        present = {key: at for key, at in span.items() if at is not None}
        return dict(filename=self.filename, **present)


class Outcome(NamedTuple):
    """What became of a video."""

    #: Bytes that were added, or would be.
    size: int = 0
    #: Why the video cannot be read.
    problem: str | None = None
    #: Whether the cache takes nothing more.
    stopped: bool = False


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return run_command(lambda: fill_cache(parse_args(arguments)))


def fill_cache(options: argparse.Namespace) -> None:
    """Decode what the cache of a config lacks."""
    cfg = load_config(options.config, options.cfg_options)
    jobs = list_jobs(cfg, options.split)
    with _progress(is_cached, jobs, options.workers, 'looking') as bar:
        stored = {place for place, found in bar if found}
    missing = [job for place, job in enumerate(jobs) if place not in stored]
    problems = {}
    if missing:
        announce(missing, options.workers)
        problems = fill_all(missing, options.workers)
    if problems:
        folder = load_transform(jobs[0].transform).frame_cache.folder
        report = options.report or folder / 'unreadable.csv'
        write_csv(report, ['file', 'problem'], problems.items())
        shown = '\n'.join(
            f'  {file}: {problem}'
            for file, problem in list(problems.items())[:NAMES_SHOWN]
        )
        raise SetupError(
            f'{len(problems)} videos cannot be read, all others are in the '
            f'cache. {report} lists them:\n{shown}'
        )
    print(f'{len(jobs):,} videos are in the cache.')


def list_jobs(cfg: Config, splits: Sequence[str] | None) -> list[CacheJob]:
    """List what the loaders of a config will ask the cache for, each once."""
    if splits is None:
        splits = [each for each in SPLITS if cfg.get(f'{each}_dataloader')]
    jobs: dict[CacheJob, None] = {}
    for split in splits:
        found: dict[CacheJob, None] = {}
        for _, node in walk(cfg.get(f'{split}_dataloader') or {}):
            for transform in _cached_transforms(node.get('pipeline') or ()):
                found.update(dict.fromkeys(_jobs_of(node, transform)))
        if not found:
            raise SetupError(
                f'no frame cache is set for {split}: give LoadVideoFrames '
                'cache=dict(folder=...), as with --cfg-options '
                f'{split}_dataloader.dataset.pipeline.0.cache.folder='
                'data/frame_cache'
            )
        print(f'{split}: {len(found):,} videos')
        jobs.update(found)
    return list(jobs)


def announce(jobs: Sequence[CacheJob], workers: int) -> None:
    """Print how much the cache will grow, and refuse if it would not fit.

    The size of all is estimated from some, evenly spread over the list.
    """
    some = jobs[:: -(-len(jobs) // MEASURED)]
    with _progress(measure, some, workers, 'measuring') as bar:
        sizes = [found.size for _, found in bar if found.problem is None]
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


def fill_all(jobs: Sequence[CacheJob], workers: int) -> dict[str, str]:
    """Decode videos into the cache; return file to problem."""
    problems, written = {}, 0
    with _progress(fill, jobs, workers, 'decoding') as bar:
        for place, outcome in bar:
            written += outcome.size
            if outcome.problem is not None:
                problems[jobs[place].filename] = outcome.problem
            if outcome.stopped:
                bar.close()
                raise SetupError(
                    'the cache takes nothing more, see above; what is in it '
                    'will be used. Run the command again to go on.'
                )
            bar.set_postfix_str(_show(written), refresh=False)
    return problems


def is_cached(job: CacheJob) -> bool:
    """Whether the cache holds a video."""
    reader = load_transform(job.transform).open_video(job.filename, job.sample)
    with reader:
        return reader.is_stored


def measure(job: CacheJob) -> Outcome:
    """Find out what a video would take in the cache."""
    return _cache(load_transform(job.transform, dry=True), job)


def fill(job: CacheJob) -> Outcome:
    """Put a video into the cache."""
    return _cache(load_transform(job.transform), job)


def _cache(transform: 'LoadVideoFrames', job: CacheJob) -> Outcome:
    try:
        size = transform.cache_video(job.sample)
    except UnreadableVideoError as error:
        problem = str(error).removeprefix(f'{job.filename}: ')
        return Outcome(problem=problem)
    return Outcome(size, stopped=transform.frame_cache.stopped)


class _DryCache(FrameCache):
    """Finds and keeps nothing: :meth:`add` only returns sizes."""

    def find(self, query: Query) -> Entry | None:
        return None

    def _write(self, key: str, content: Sequence) -> None:
        pass


@functools.cache
def load_transform(options: str, dry: bool = False) -> 'LoadVideoFrames':
    """Build a transform once; ``dry`` with a cache that keeps nothing."""
    transform = TRANSFORMS.build(json.loads(options))
    if dry:
        transform.frame_cache = _DryCache(**transform.cache)
    return transform


@contextmanager
def _progress(
    work: Callable[[CacheJob], Any],
    jobs: Sequence[CacheJob],
    workers: int,
    title: str,
) -> Iterator[tqdm]:
    """Work on all jobs; gives a progress bar over positions and results.

    Threads are enough: a video is decoded by the decoder process of its
    thread.
    """
    with closing(thread_map(work, jobs, workers)) as results:
        yield tqdm(results, title, len(jobs), unit='video', mininterval=1)


def _cached_transforms(pipeline: Sequence[Any]) -> Iterator[dict]:
    from mmtvr.datasets.transforms import LoadVideoFrames

    for step in pipeline:
        if isinstance(step, dict) and step.get('cache'):
            kind = step.get('type')
            kind = TRANSFORMS.get(kind) if isinstance(kind, str) else kind
            if isinstance(kind, type) and issubclass(kind, LoadVideoFrames):
                yield step


def _jobs_of(dataset: dict, transform: dict) -> Iterator[CacheJob]:
    # The other transforms may need weights or a network.
    samples = DATASETS.build(ConfigDict(dataset, pipeline=[]))
    samples.full_init()
    options = json.dumps(transform, sort_keys=True)
    for number in range(len(samples)):
        sample = samples.get_data_info(number)
        yield CacheJob(
            options,
            str(sample['filename']),
            sample.get('start'),
            sample.get('end'),
        )


def _show(size: float) -> str:
    if size < GIGABYTE:
        return f'{size / 1e6:.1f} MB'
    return f'{size / GIGABYTE:.1f} GB'


def parse_args(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        'mmtvr cache',
        description='Decode the videos of a config into its frame cache.',
        epilog=EXAMPLES,
        formatter_class=HelpFormatter,
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
        action=ConfigOptions,
        metavar='KEY=VALUE',
        help='override settings: '
        'train_dataloader.dataset.pipeline.0.cache.folder=DIR',
    )
    return parser.parse_args(arguments)
