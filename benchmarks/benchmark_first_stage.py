"""Recall of the first stage against time, with features like real ones.

``python -m benchmarks.benchmark_first_stage INDEX ANNOTATION --folder DIR``

INDEX holds the videos of ANNOTATION, in four vectors each. Beside them come
as many as a size asks for that are made of theirs: each quarter of a made
video is the same quarter of some real one, with a little noise, so that it has
neighbours that differ from it in one quarter or two, and each caption has many
videos that show half of what it says. All vectors are turned into the width
that is asked for, which changes no cosine. The captions are searched as they
are.

The exact ranking is that of the head of the model over all videos. For each
first stage and K stands how often its candidates have the first of the exact
ranking among them, and what it took: the wall clock, which other programs on
the machine make longer, and the time of all cores of this process alone.

With ``--server ADDRESS`` the index is made there, where none may be yet.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.benchmark_two_stages import by_sentence
from benchmarks.measuring import report
from mmtvr.apis.searcher import open_searcher
from mmtvr.cli.command import run_command
from mmtvr.search.encoder import RetrievalEncoder
from mmtvr.search.features import list_readable
from mmtvr.search.query import to_features
from mmtvr.search.stores import open_store
from mmtvr.search.stores.base import QueryVectors, StoredVideos, VideoStore
from mmtvr.search.video_files import read_captioned
from mmtvr.structures import TokenFeatures, concatenate

PARTS = 4
BATCH = 2000
# Length of what is added to a unit vector: of two frames of one shot the
# cosine is about 0.95.
NOISE = 0.2


class MixedVideos:
    """Real videos, then videos made of their quarters.

    Args:
        real: The real ones.
        width: Width D of the features that are stored.
    """

    def __init__(self, real: StoredVideos, width: int) -> None:
        self.real = real
        rng = np.random.default_rng(0)
        native = real.pooled.shape[1]
        turned, _ = np.linalg.qr(rng.standard_normal((width, native)))
        self.basis = turned.T.astype(np.float32)
        self.quarters = [np.array_split(t, PARTS) for t in real.tokens]

    def make(self, first: int, count: int) -> StoredVideos:
        """Make videos in the width of the model, the same at each call."""
        rng = np.random.default_rng([1, first])
        chosen = rng.integers(len(self.quarters), size=(count, PARTS))
        pooled, tokens = [], []
        for row, sources in enumerate(chosen):
            if first + row < len(self.quarters):
                frames = self.real.tokens[first + row]
            else:
                pairs = enumerate(sources)
                frames = np.concatenate(
                    [self.quarters[each][place] for place, each in pairs]
                )
                noise = rng.standard_normal(frames.shape, np.float32)
                frames = unit(frames + NOISE * unit(noise))
            tokens.append(frames)
            pooled.append(unit(frames.mean(axis=0)))
        numbers = range(first, first + count)
        times = [np.arange(len(each), dtype=np.float32) for each in tokens]
        contents = [f'{number:032x}' for number in numbers]
        return StoredVideos(contents, np.stack(pooled), tokens, times)

    def batches(self, count: int) -> Iterator[StoredVideos]:
        """Make all of them."""
        for first in range(0, count, BATCH):
            yield self.make(first, min(BATCH, count - first))

    def turn(self, videos: StoredVideos) -> StoredVideos:
        """Bring videos into the width that is stored."""
        return videos._replace(
            pooled=videos.pooled @ self.basis,
            tokens=[each @ self.basis for each in videos.tokens],
        )

    def turn_query(self, query: QueryVectors) -> QueryVectors:
        """Likewise the vectors of a text."""
        return QueryVectors(
            query.sentence @ self.basis,
            query.words @ self.basis,
            query.weights,
            query.share,
        )


def unit(vectors: np.ndarray) -> np.ndarray:
    """Scale to unit length."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def fill(
    store: VideoStore,
    made: MixedVideos,
    count: int,
    encoder: RetrievalEncoder,
    text: TokenFeatures,
) -> tuple[list[str], dict[str, float]]:
    """Write videos, and find the first of the exact ranking of each text."""
    width = made.basis.shape[1]
    store.create(dict(width=width, precision='int8', parts=PARTS))
    best = np.full(len(text.pooled), -np.inf)
    names = [''] * len(best)
    writing = 0.0
    for batch in made.batches(count):
        scores = encoder.score(text, to_features(batch)).numpy()
        for row in np.flatnonzero(scores.max(axis=1) > best):
            place = scores[row].argmax()
            best[row], names[row] = scores[row, place], batch.contents[place]
        start = time.process_time()
        store.add_videos(made.turn(batch))
        writing += time.process_time() - start
    start = time.process_time()
    store.compact()
    return names, dict(writing=writing, indexing=time.process_time() - start)


Stage = Callable[[list[QueryVectors], int], list[list[str]]]
STAGES: dict[str, Callable[..., list[list[str]]]] = {
    'sentence': by_sentence,
    'merged neighbours': VideoStore.find_candidates,
    'sentence and words': lambda store, *asked: store.find_candidates(*asked),
}


def measure(
    count: int,
    made: MixedVideos,
    encoder: RetrievalEncoder,
    texts: list[str],
    args: argparse.Namespace,
) -> list[dict[str, Any]]:
    """Compare first stages at one size."""
    parts, queries = [], []
    for text in texts:
        encoded = encoder.encode_texts([text])
        parts.append(encoded.features.to('cpu'))
        queries += encoder.query_vectors(encoded)
    queries = [made.turn_query(each) for each in queries]
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        address = args.server and f'{args.server}/first_stage_{count}'
        store = open_store(address or Path(folder, 'index'))
        exact, filled = fill(store, made, count, encoder, concatenate(parts))
        print(f'{count} videos: {filled}', flush=True)
        return [
            compare(
                name, partial(STAGES[name], store), queries, exact, count, k
            )
            for name in args.stages
            for k in args.candidates
        ]


def compare(
    name: str,
    find: Stage,
    queries: list[QueryVectors],
    exact: list[str],
    videos: int,
    count: int,
) -> dict[str, Any]:
    """Search all queries, one at a time."""
    find(queries[:1], count)
    found, walls, cores = [], [], []
    for query, wanted in zip(queries, exact, strict=True):
        start, used = time.perf_counter(), time.process_time()
        (near,) = find([query], count)
        walls.append(time.perf_counter() - start)
        cores.append(time.process_time() - used)
        found.append(wanted in near)
    row = {
        'videos': videos,
        'first stage': name,
        'K': count,
        'exact first kept, %': 100 * float(np.mean(found)),
        'p50, ms': 1000 * float(np.percentile(walls, 50)),
        'p99, ms': 1000 * float(np.percentile(walls, 99)),
        'CPU p50, ms': 1000 * float(np.percentile(cores, 50)),
    }
    print(row, flush=True)
    return row


def main() -> None:
    """Measure all sizes and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('index', help='of real videos, with frames')
    parser.add_argument('annotation', type=Path, help='their captions')
    parser.add_argument('--videos-folder', type=Path)
    parser.add_argument(
        '--sizes', type=int, nargs='+', default=[1000, 100_000, 1_000_000]
    )
    parser.add_argument(
        '--stages',
        nargs='+',
        choices=STAGES,
        default=['sentence', 'sentence and words'],
    )
    parser.add_argument('--queries', type=int, default=100)
    parser.add_argument('--candidates', type=int, nargs='+', default=[10, 100])
    parser.add_argument('--width', type=int, default=512)
    parser.add_argument(
        '--folder', type=Path, help='where the indices lie meanwhile'
    )
    parser.add_argument('--server', help='address of an engine')
    parser.add_argument('--out', type=Path, help='write the table as JSON')
    args = parser.parse_args()
    torch.set_num_threads(1)
    searcher = open_searcher(args.index)
    entries = list_readable(searcher.store)
    contents = list(dict.fromkeys(entry.content for entry in entries))
    made = MixedVideos(searcher.store.read_videos(contents), args.width)
    captioned = read_captioned(args.annotation, args.videos_folder)
    texts = [text for _, captions in captioned for text in captions]
    rng = np.random.default_rng(0)
    chosen = rng.permutation(len(texts))[: args.queries]
    texts = [texts[each] for each in chosen]
    rows = [
        row
        for size in args.sizes
        for row in measure(size, made, searcher.encoder, texts, args)
    ]
    report('First stages', rows, 'cpu', args.out)


if __name__ == '__main__':
    sys.exit(run_command(main, 'nothing was changed'))
