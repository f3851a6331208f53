"""Kill indexing at random moments, and compare with an index made in one go.

``python tools/analysis/kill_indexing.py --kills 100``

Files of random bytes stand for videos, some of them copies or unreadable, and
the hash of a file for its features, so that what is tested is the index and
not a decoder. A process that indexes them is ended by SIGKILL after a random
time, again and again, while this process goes on reading the index. Between
kills files are added, renamed, changed and removed. In the end both indices
must hold the same files and features and find the same.
"""

import argparse
import multiprocessing
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np

from mmtvr.search import pending_batch
from mmtvr.search.encoder import EncodedVideo, VideoFeatures
from mmtvr.search.indexing import Indexer, prepare_index
from mmtvr.search.stores import open_store
from mmtvr.search.video_dataset import name_content
from mmtvr.search.video_files import FoundVideo, find_videos

WIDTH, FRAMES = 16, 4
ABOUT = dict(
    format=1,
    name='hash',
    model='hash',
    pipeline='hash',
    checkpoint=None,
    width=WIDTH,
    precision='float16',
    parts=2,
)
SECONDS_PER_VIDEO = 0.004
VIDEOS_PER_COMMIT = 5
BROKEN = b'broken'


class HashEncoder:
    """Stands for a model: features are drawn by the hash of the file."""

    def encode_videos(
        self,
        videos: Sequence[FoundVideo],
        workers: int = 0,
        known: Set[str] = frozenset(),
    ) -> Iterator[EncodedVideo]:
        """See :class:`mmtvr.search.encoder.RetrievalEncoder`."""
        for video in videos:
            time.sleep(SECONDS_PER_VIDEO)
            content = name_content(video)
            if content in known:
                yield EncodedVideo(content)
            elif Path(video.path).read_bytes().startswith(BROKEN):
                yield EncodedVideo(content, error='broken')
            else:
                yield EncodedVideo(content, draw(content))


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


def index(folder: Path, into: Path, begun: Any = None) -> None:
    """Index a folder in this process.

    Args:
        folder: The files.
        into: The index.
        begun: An event to set when all is imported.
    """
    pending_batch.VIDEOS_PER_COMMIT = VIDEOS_PER_COMMIT
    store = open_store(into)
    if begun is not None:
        begun.set()
    prepare_index(store, ABOUT)
    Indexer(store, HashEncoder(), progress=False).run(find_videos([folder]))


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


def look(into: Path) -> dict[str, Any]:
    """Read all that an index holds, in an order of its own.

    Args:
        into: The index.

    Returns:
        Files, features, and what queries find.
    """
    store = open_store(into)
    files = {
        each.path: (each.content, each.error, each.broken)
        for each in store.list_files()
    }
    contents = sorted(store.list_contents())
    videos = store.read_videos(contents)
    queries = [draw(hex(number)).pooled for number in range(5)]
    return dict(
        files=files,
        contents=videos.contents,
        count=store.count_videos(),
        pooled=videos.pooled.tolist(),
        tokens=[each.tolist() for each in videos.tokens],
        nearest=[store.nearest(query, 10) for query in queries],
    )


def read_while_written(into: Path) -> int:
    """Check what a reader may rely on at any moment.

    Args:
        into: The index; need not be there yet.

    Returns:
        How many videos it holds.
    """
    store = open_store(into)
    if store.read_about() is None:
        return 0
    files = [each for each in store.list_files() if each.error is None]
    known = store.list_contents()
    missing = [each.path for each in files if each.content not in known]
    assert not missing, f'files without features: {missing}'
    query = draw('0').pooled
    named = [content for content, _ in store.nearest(query, 10)]
    assert len(set(named)) == len(named)
    assert len(store.read_videos(named).contents) == len(named)
    return store.count_videos()


def main() -> None:
    """Kill, compare, and say what was done."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('--kills', type=int, default=30)
    parser.add_argument('--videos', type=int, default=150)
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    # A server that has imported all forks each process within milliseconds.
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(['kill_indexing', 'pyarrow'])
    with tempfile.TemporaryDirectory() as top:
        root = Path(top)
        folder = root / 'videos'
        (folder / 'more').mkdir(parents=True)
        for number in range(args.videos):
            start = BROKEN if number % 29 == 3 else b''
            path = folder / ('more' if number % 2 else '.') / f'{number}.mp4'
            path.write_bytes(start + rng.randbytes(100))
        killed, whole = 0, 0
        while killed < args.kills:
            begun = context.Event()
            work = context.Process(
                target=index, args=(folder, root / 'a', begun)
            )
            work.start()
            begun.wait()
            work.join(rng.uniform(0, args.videos * SECONDS_PER_VIDEO))
            killed += work.is_alive()
            whole += not work.is_alive()
            work.kill()
            work.join()
            count = read_while_written(root / 'a')
            print(f'kill {killed}: {count} videos in the index', flush=True)
            change(folder, rng)
        index(folder, root / 'a')
        index(folder, root / 'b')
        if look(root / 'a') != look(root / 'b'):
            sys.exit(f'DIFFERENT after {killed} kills')
        print(
            f'killed {killed} times, {whole} passes ended by themselves: '
            f'same as in one go, {len(look(root / "b")["files"])} files'
        )


if __name__ == '__main__':
    main()
