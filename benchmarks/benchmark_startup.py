"""How long a large annotation file takes to load, and what workers hold of it.

``python -m benchmarks.benchmark_startup`` writes an annotation file of the
size of MSR-VTT's training set (9,000 videos of 20 captions, in words drawn at
random) beside empty files in place of videos, loads it as the training set
does, and starts worker processes that read every sample.
"""

import argparse
import json
import multiprocessing
import random
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks.measuring import report
from mmtvr.datasets import TextVideoDataset


def write_set(folder: Path, videos: int, captions: int) -> None:
    """Write the annotation file and empty videos."""
    drawn = random.Random(0)
    words = [
        ''.join(drawn.choices('abcdefghijklmnop', k=drawn.randint(2, 9)))
        for _ in range(5000)
    ]
    (folder / 'videos').mkdir()
    content = {}
    for number in range(videos):
        name = f'video{number}.mp4'
        (folder / 'videos' / name).touch()
        content[name] = [
            ' '.join(drawn.choices(words, k=drawn.randint(5, 14)))
            for _ in range(captions)
        ]
    (folder / 'train.json').write_text(json.dumps(content), encoding='utf-8')


def load(folder: Path) -> TextVideoDataset:
    """Load the set, all pairs, without a pipeline."""
    return TextVideoDataset(
        ann_file='train.json', data_root=str(folder), pipeline=[]
    )


def own_megabytes() -> float:
    """Memory of this process that it shares with no other (Linux)."""
    rollup = Path('/proc/self/smaps_rollup').read_text(encoding='ascii')
    return int(rollup.split('Private_Dirty:')[1].split()[0]) / 2**10


def read_all(dataset: TextVideoDataset, answers: object) -> None:
    """Read every sample, as a worker does, and tell what it took."""
    before = own_megabytes()
    for number in range(len(dataset)):
        dataset.get_data_info(number)
    answers.put(own_megabytes() - before)


def main() -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--videos', type=int, default=9000)
    parser.add_argument('--captions', type=int, default=20)
    parser.add_argument('--workers', type=int, default=4)
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--out', type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_set(folder, args.videos, args.captions)
        seconds = []
        for _ in range(args.repeats):
            start = time.perf_counter()
            dataset = load(folder)
            seconds.append(time.perf_counter() - start)
        context = multiprocessing.get_context('fork')
        answers = context.Queue()
        workers = [
            context.Process(target=read_all, args=(dataset, answers))
            for _ in range(args.workers)
        ]
        for worker in workers:
            worker.start()
        grown = [answers.get() for _ in workers]
        for worker in workers:
            worker.join()
    report(
        'Loading an annotation file',
        [
            {
                'videos': args.videos,
                'pairs': len(dataset),
                'load, s': median(seconds),
                'data, MiB': dataset.data_bytes.nbytes / 2**20,
                'workers': args.workers,
                'copied by a worker, MiB': max(grown),
            }
        ],
        'cpu',
        args.out,
    )


if __name__ == '__main__':
    sys.exit(main())
