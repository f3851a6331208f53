"""Time searching at 1k, 100k and 1M videos, and plan for 10^9.

``python -m benchmarks.benchmark_search --folder DIR_WITH_20_GB_FREE``

The features are synthetic: unit vectors of 512 dimensions, 12 frames a video
in 4 scenes, kept as ``mmtvr index`` keeps them, in an index of the real
format.
A query is a synthetic text of 32 words; it goes through both stages, sentence
and words against parts, and DMAE over the frames of the best 100, on the
device named. Encoding the text and the videos is not in the times, it depends
on the model; the plan takes the rate of encoding that is given.
"""

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import normalize
from tqdm import tqdm

from benchmarks.measuring import report
from mmtvr.models.heads import DMAEHead
from mmtvr.search.query import to_features
from mmtvr.search.stores.base import (
    CONTENT_DIGITS,
    FileEntry,
    QueryVectors,
    StoredVideos,
)
from mmtvr.search.stores.lance import LanceStore
from mmtvr.structures import TokenFeatures

BILLION = 10**9
WIDTH, FRAMES, SCENES, WORDS = 512, 12, 4, 32
DIRECTIONS = 64
BATCH = 2000


def make_videos(first: int, count: int) -> StoredVideos:
    """Make videos, the same for the same numbers."""
    scenes = _vectors([1, first], count * SCENES).reshape(-1, SCENES, WIDTH)
    frames = scenes.repeat(FRAMES // SCENES, axis=1)
    noise = np.random.default_rng(2).standard_normal((FRAMES, WIDTH), 'f4')
    frames = _unit(frames + 0.02 * noise)
    return StoredVideos(
        [f'{number:032x}' for number in range(first, first + count)],
        _unit(frames.mean(axis=1)),
        list(frames),
        [np.arange(FRAMES, dtype=np.float32)] * count,
    )


def _vectors(seed: list[int], count: int) -> np.ndarray:
    basis = np.random.default_rng(0).standard_normal((DIRECTIONS, WIDTH), 'f4')
    rng = np.random.default_rng(seed)
    where = rng.standard_normal((count, DIRECTIONS), np.float32)
    noise = rng.standard_normal((count, WIDTH), np.float32)
    return _unit(where @ basis / DIRECTIONS**0.5 + 0.5 * noise)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def make_queries(count: int, videos: int) -> TokenFeatures:
    """Make texts, each near a scene of a video of the index."""
    rng = np.random.default_rng(3)
    sentences = []
    for number in rng.integers(0, max(1, videos // BATCH), count):
        size = min(BATCH, videos)
        batch = make_videos(int(number) * BATCH, size)
        frame = batch.tokens[rng.integers(size)][rng.integers(FRAMES)]
        sentences.append(frame + 0.02 * rng.standard_normal(WIDTH))
    pooled = normalize(torch.tensor(np.array(sentences)).float(), dim=-1)
    noise = 0.02 * torch.randn(count, WORDS, WIDTH)
    tokens = normalize(pooled[:, None] + noise, dim=-1)
    return TokenFeatures(tokens, torch.ones(count, WORDS).bool(), pooled)


def fill(store: LanceStore, videos: int, precision: str) -> dict[str, float]:
    """Write videos and make searching fast."""
    parts = SCENES
    store.create(dict(width=WIDTH, precision=precision, parts=parts))
    writing = 0.0
    for first in tqdm(range(0, videos, BATCH), f'{videos} videos'):
        batch = make_videos(first, min(BATCH, videos - first))
        entries = [
            FileEntry(f'/videos/{content}.mp4', content)
            for content in batch.contents
        ]
        start = time.perf_counter()
        store.add_videos(batch)
        store.put_files(entries)
        writing += time.perf_counter() - start
    start = time.perf_counter()
    store.compact()
    return dict(write=writing, compact=time.perf_counter() - start)


@torch.no_grad()
def ask(
    store: LanceStore,
    head: DMAEHead,
    query: TokenFeatures,
    candidates: int,
    device: str,
) -> tuple[list[str], dict[str, float]]:
    """Send one query through both stages."""
    times = [time.perf_counter()]
    text = QueryVectors(
        query.pooled[0].numpy(),
        query.tokens[0].numpy(),
        np.full(WORDS, 1 / WORDS, np.float32),
    )
    (found,) = store.find_candidates([text], candidates)
    times.append(time.perf_counter())
    videos = store.read_videos(found)
    times.append(time.perf_counter())
    features = to_features(videos).to(device)
    scores = head(query.to(device), features)[0].cpu()
    best = [videos.contents[row] for row in scores.topk(10).indices.tolist()]
    store.find_files(best)
    times.append(time.perf_counter())
    steps = np.diff(times).tolist()
    return best, dict(zip(('nearest', 'read', 'head'), steps, strict=True))


def measure(videos: int, args: argparse.Namespace) -> dict[str, Any]:
    """Fill an index and search it."""
    folder = Path(tempfile.mkdtemp(dir=args.folder)) / 'index'
    try:
        store = LanceStore(str(folder))
        filled = fill(store, videos, args.precision)
        queries = make_queries(args.queries, videos)
        head = DMAEHead(WIDTH).to(args.device).eval()
        rows = [queries.select(torch.tensor([i])) for i in range(args.queries)]
        ask(store, head, rows[0], args.candidates, args.device)
        steps = [
            ask(store, head, row, args.candidates, args.device)[1]
            for row in rows
        ]
        total = 1000 * np.array([sum(each.values()) for each in steps])
        part = {
            name: 1000 * float(np.median([each[name] for each in steps]))
            for name in steps[0]
        }
        used = sum(p.stat().st_size for p in folder.rglob('*') if p.is_file())
    finally:
        shutil.rmtree(folder.parent)
    return {
        'videos': videos,
        'queries/s': 1000 / float(total.mean()),
        'p50, ms': float(np.percentile(total, 50)),
        'p99, ms': float(np.percentile(total, 99)),
        'nearest, ms': part['nearest'],
        'read, ms': part['read'],
        'head, ms': part['head'],
        'bytes/video': round(used / videos),
        'writing, s': filled['write'],
        'indexing, s': filled['compact'],
    }


def plan(row: dict[str, Any], rate: float) -> list[dict[str, Any]]:
    """Calculate what 10^9 videos take, from the largest size measured."""
    per_machine = 10**8
    days = BILLION / rate / 86400
    stored = row['bytes/video'] * BILLION / 1e12
    # Two codes of each part; the row and the content of the video.
    codes = (SCENES * (8 + 1) + 8 + CONTENT_DIGITS) * BILLION / 1e9
    times = per_machine / row['videos']
    # Lists grow with the root of the vectors, and each is compared with all.
    seconds = row['writing, s'] * times + row['indexing, s'] * times**1.5
    machines = BILLION // per_machine
    return [
        {'what': 'features on disk, TB', 'value': stored},
        {'what': 'codes of the first stage in memory, GB', 'value': codes},
        {'what': 'machines of 10^8 videos', 'value': machines},
        {'what': '  disk of each, TB', 'value': stored / machines},
        {'what': '  memory of each for codes, GB', 'value': codes / machines},
        {
            'what': '  days to write and index its share',
            'value': seconds / 86400,
        },
        {
            'what': f'process days to encode, {rate:g} videos/s each',
            'value': days,
        },
        {
            'what': 'features of K=100 that a query reads, MB',
            'value': 100 * row['bytes/video'] / 1e6,
        },
    ]


def main() -> None:
    """Measure all sizes, print the table and the plan."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        '--sizes', type=int, nargs='+', default=[1000, 100_000, 1_000_000]
    )
    parser.add_argument('--queries', type=int, default=200)
    parser.add_argument('--candidates', type=int, default=100)
    parser.add_argument('--precision', default='int8')
    parser.add_argument('--device', default='cpu')
    parser.add_argument(
        '--folder', type=Path, help='where the indices lie meanwhile'
    )
    parser.add_argument(
        '--videos-per-second',
        type=float,
        default=50.0,
        help='what a process encodes, for the plan: see `mmtvr index`',
    )
    parser.add_argument('--out', type=Path, help='write the table as JSON')
    args = parser.parse_args()
    if args.folder:
        args.folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for videos in args.sizes:
        rows.append(measure(videos, args))
        print(rows[-1], flush=True)
    report(
        f'Searching synthetic features, {args.precision}',
        rows,
        args.device,
        args.out,
    )
    report(
        f'10^9 videos, calculated from {rows[-1]["videos"]}',
        plan(rows[-1], args.videos_per_second),
        args.device,
    )


if __name__ == '__main__':
    main()
