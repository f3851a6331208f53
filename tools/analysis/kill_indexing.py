"""Kill indexing at random moments, and compare with an index made in one go.

``python tools/analysis/kill_indexing.py --kills 100``

Files of random bytes stand for videos and the hash of a file for its
features, so that what is tested is the index and not a decoder. A process
that indexes them is ended by SIGKILL, again and again, a random time after a
random number of files, or after all of them, so that kills spread over
encoding, commits and tidying on a slow machine too. After each this process
reads the index, and files are added, renamed, changed and removed. In the end
both indices must hold the same files and features and find the same. After
``--minutes`` no more kills are tried; what was done is compared all the same,
and the script fails if that were fewer than wanted.
"""

import argparse
import multiprocessing
import random
import sys
import tempfile
import time
from collections import Counter
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

from hash_encoder import ALL, WIDTH, HashEncoder, change, draw, make_files

from mmtvr.search import indexing as pending_batch
from mmtvr.search.indexing import Indexer, prepare_index
from mmtvr.search.stores import open_store
from mmtvr.search.video_files import find_videos

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
# Tidying takes about that long.
MOST_SECONDS_BETWEEN = 0.2
VIDEOS_PER_COMMIT = 5


def index(folder: Path, into: Path, progress: Any) -> None:
    """Index a folder in this process.

    Args:
        folder: The files.
        into: The index.
        progress: Its ``value`` is 0 when all is imported, then as
            :class:`HashEncoder` sets it.
    """
    pending_batch.VIDEOS_PER_COMMIT = VIDEOS_PER_COMMIT
    store = open_store(into)
    progress.value = 0
    prepare_index(store, ABOUT)
    encoder = HashEncoder(progress)
    Indexer(store, encoder, progress=False).run(find_videos([folder]))


def kill_once(
    context: BaseContext, folder: Path, into: Path, rng: random.Random
) -> str:
    """Index in a process that is killed at a random moment.

    Args:
        context: Starts the process.
        folder: The files.
        into: The index.
        rng: Chooses the moment.

    Returns:
        When it was killed; empty if it had ended by itself.
    """
    # Without a lock, which a killed process would leave behind.
    progress = context.Value('q', -1, lock=False)
    work = context.Process(target=index, args=(folder, into, progress))
    work.start()
    target = rng.randrange(sum(1 for _ in folder.rglob('*.mp4')))
    while progress.value < target and work.is_alive():
        time.sleep(0.001)
    work.join(rng.uniform(0, MOST_SECONDS_BETWEEN))
    seen, alive = progress.value, work.is_alive()
    work.kill()
    work.join()
    if not alive:
        assert work.exitcode == 0, 'indexing failed by itself'
        return ''
    return 'tidying' if seen == ALL else f'file {seen}'


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
    if store.read_info() is None:
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


def kill_and_compare(root: Path, args: argparse.Namespace) -> Counter:
    """Kill, change, and compare in the end.

    Args:
        root: An empty folder.
        args: The command line.

    Returns:
        How many processes were killed ``'encoding'`` and ``'tidying'``, and
        ``'ended'`` before they could be.
    """
    rng = random.Random(args.seed)
    # A server that has imported all forks each process within milliseconds.
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(['kill_indexing', 'pyarrow'])
    folder, killed = root / 'videos', Counter()
    make_files(folder, args.videos, rng)
    end = time.monotonic() + 60 * args.minutes
    while killed.total() - killed['ended'] < args.kills:
        if time.monotonic() > end:
            break
        when = kill_once(context, folder, root / 'a', rng)
        kind = 'encoding' if when.startswith('file') else when
        killed[kind or 'ended'] += 1
        count = read_while_written(root / 'a')
        print(f'{when or "ended"}: {count} videos in the index', flush=True)
        change(folder, rng)
    for name in 'ab':
        index(folder, root / name, context.Value('q', -1, lock=False))
    if look(root / 'a') != look(root / 'b'):
        sys.exit(f'DIFFERENT after {dict(killed)}')
    return killed


def main() -> None:
    """Kill, compare, and say what was done."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('--kills', type=int, default=30)
    parser.add_argument('--videos', type=int, default=150)
    parser.add_argument('--minutes', type=float, default=10.0)
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as top:
        killed = kill_and_compare(Path(top), args)
    kills = killed.total() - killed['ended']
    print(
        f'killed {kills} times, {killed["encoding"]} while encoding and '
        f'{killed["tidying"]} while tidying, {killed["ended"]} ended before: '
        f'same as in one go, {time.monotonic() - start:.0f} s'
    )
    if kills < args.kills:
        sys.exit(f'{args.kills} kills were wanted; give more --minutes')


if __name__ == '__main__':
    main()
