"""Kill ``mmtvr serve`` at random moments while it indexes and is used.

``python -m benchmarks.faults.kill_serving --kills 50``

The page serves a folder of moving shapes with a small model. In each round
files come into the folder and leave it, the page is asked to look for new
files, and meanwhile others search and judge, until the server is ended by
SIGKILL at a random moment. After each the same command must start again, and
what was acknowledged must be there once: each judgement that was answered, and
each file that an answer has named. No process may stay behind. In the end the
index must equal one made in one go.
"""

import argparse
import http.client
import json
import multiprocessing
import random
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import psutil

from benchmarks.faults.kill_indexing import look, read_while_written
from mmtvr.datasets.moving_shapes.generation import ensure_moving_shapes
from mmtvr.search import indexing
from mmtvr.search.judgements import Judgements
from mmtvr.search.stores.base import FileEntry

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / 'configs/ablation/tpmcl_moving_shapes_cosine-importance.py'
MAX_SECONDS_TO_START = 180
# More than there are files at any time: all are named by one answer.
MOST = 96
KEPT = 20
QUERY = 'a red circle rising'
GONE = (OSError, http.client.HTTPException)


def serve(arguments: list[str]) -> None:
    """What the command does, with small commits, in this process."""
    from mmtvr.cli.serve import main

    indexing.VIDEOS_PER_COMMIT = 1
    main(arguments)


def ask(port: int, method: str, path: str) -> tuple[int, bytes]:
    """Status and body, when the whole answer has come."""
    connection = http.client.HTTPConnection('127.0.0.1', port, timeout=60)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


class Page:
    """A served folder, and what its server has acknowledged.

    Args:
        root: Where all of it is kept.
        context: Starts processes.
        rng: Draws what happens.
    """

    def __init__(
        self, root: Path, context: BaseContext, rng: random.Random
    ) -> None:
        self.folder, self.index = root / 'videos', root / 'index'
        self.judgements = root / 'judgements.jsonl'
        self.arguments = [
            *(str(self.index), '--json', '--cache', str(root / 'cache')),
            *('--judgements', str(self.judgements), '--port'),
        ]
        self.context, self.rng = context, rng
        self.clips: list[Path] = []
        self.named: set[str] = set()
        self.judged: dict[str, tuple[str, bool]] = {}
        self.numbers = 0
        self.process: BaseProcess | None = None
        self.port = 0

    def start(self) -> None:
        """Start the server and wait for its first answer."""
        with socket.create_server(('127.0.0.1', 0)) as free:
            self.port = free.getsockname()[1]
        arguments = [*self.arguments, str(self.port)]
        self.process = self.context.Process(target=serve, args=(arguments,))
        self.process.start()
        end = time.monotonic() + MAX_SECONDS_TO_START
        while True:
            with suppress(*GONE):
                status, _ = ask(self.port, 'GET', '/health')
                if status == 200:
                    return
            assert self.process.is_alive(), 'the server does not start'
            assert time.monotonic() < end, 'the server does not answer'
            time.sleep(0.05)

    def kill(self) -> None:
        """End the server by SIGKILL; nothing may stay behind."""
        if self.process is None or not self.process.is_alive():
            return
        children = psutil.Process(self.process.pid).children(recursive=True)
        self.process.kill()
        self.process.join()
        _, alive = psutil.wait_procs(children, timeout=30)
        assert not alive, f'left behind: {alive}'

    def add_file(self) -> None:
        """Copy a clip, with a box of its own behind it: another content."""
        self.numbers += 1
        content = self.rng.choice(self.clips).read_bytes()
        box = self.rng.randbytes(16)
        content += (8 + len(box)).to_bytes(4, 'big') + b'free' + box
        path = self.folder / f'{self.numbers}.mp4'
        partial = path.with_suffix('.part')
        partial.write_bytes(content)
        partial.rename(path)

    def change(self) -> None:
        """Let files come, and some go."""
        for _ in range(self.rng.randint(1, 3)):
            self.add_file()
        files = sorted(self.folder.glob('*.mp4'))
        for path in self.rng.sample(files, max(0, len(files) - KEPT)):
            self.named.discard(path.name)
            path.unlink()

    def search(self) -> list[str]:
        """Names of all videos that the server finds; each once."""
        path = '/api/search?' + urlencode(dict(q=QUERY, k=MOST))
        status, body = ask(self.port, 'GET', path)
        assert status == 200, body
        results = json.loads(body)['results']
        names = [each['name'] for each in results if not each['is_gone']]
        assert len(set(names)) == len(names), f'twice: {names}'
        return names

    def judge(self) -> None:
        """Judge a file for a text of its own."""
        path = self.rng.choice(sorted(self.folder.glob('*.mp4')))
        key = FileEntry(str(path), '').key
        self.numbers += 1
        text, relevant = f'text {self.numbers}', self.rng.random() < 0.5
        asked = urlencode(dict(q=text, relevant=int(relevant)))
        status, _ = ask(self.port, 'POST', f'/judge/{key}?{asked}')
        if status == 303:
            self.judged[text] = (key, relevant)

    def indexing(self) -> dict[str, Any]:
        """How far indexing is."""
        return json.loads(ask(self.port, 'GET', '/indexing')[1])

    def update(self) -> dict[str, Any]:
        """Let it look for new files, and wait until it has."""
        assert ask(self.port, 'POST', '/indexing')[0] == 303
        while (now := self.indexing())['is_running']:
            time.sleep(0.02)
        assert 'failed' not in now['message'], now
        return now

    def check(self) -> None:
        """Compare what the server has with what it has acknowledged."""
        found = set(self.search())
        missing = self.named - found
        assert not missing, f'no longer found: {sorted(missing)}'
        self.named |= found
        lines = self.judgements.read_text().splitlines()
        said = Judgements(self.judgements).read()
        for text, (key, relevant) in self.judged.items():
            assert said.get(text) == {key: relevant}, f'lost: {text}'
            assert sum(f'"{text}"' in line for line in lines) == 1, text
        read_while_written(str(self.index))

    def use(self, seconds: float) -> str:
        """Use the page, and kill its server; say while it did what."""
        stop = threading.Event()

        def repeat(work: Any) -> None:
            while not stop.is_set():
                with suppress(*GONE):
                    found = work()
                    self.named.update(found or ())

        assert ask(self.port, 'POST', '/indexing')[0] == 303
        users = [
            threading.Thread(target=repeat, args=(work,))
            for work in (self.judge, self.search)
        ]
        for user in users:
            user.start()
        time.sleep(seconds)
        try:
            is_running = self.indexing()['is_running']
            self.kill()
        finally:
            stop.set()
            for user in users:
                user.join()
        return 'indexing' if is_running else 'serving'


def kill_and_check(root: Path, args: argparse.Namespace) -> tuple:
    """Kill, check, and compare in the end."""
    from mmtvr.apis import TextVideoSearcher

    rng = random.Random(args.seed)
    context = multiprocessing.get_context('forkserver')
    modules = ('cli.serve', 'serve.app', 'apis.searcher', 'models', 'datasets')
    context.set_forkserver_preload([f'mmtvr.{each}' for each in modules])
    page = Page(root, context, rng)
    made = ensure_moving_shapes(root / 'shapes', 'test', 6, args.seed)
    page.clips = sorted((made / 'videos').glob('*.mp4'))
    page.folder.mkdir()
    for _ in range(4):
        page.add_file()
    searcher = TextVideoSearcher(CONFIG)
    searcher.index(page.folder, into=page.index, progress=False)
    killed: Counter = Counter()
    try:
        page.start()
        kill_repeatedly(page, killed, args)
    finally:
        page.kill()
    whole = root / 'whole'
    searcher.index(page.folder, into=whole, progress=False)
    found, wanted = look(str(page.index)), look(str(whole))
    # In another order where features are rounded to the same cosine.
    del found['nearest'], wanted['nearest']
    if found != wanted:
        sys.exit(f'DIFFERENT after {dict(killed)}')
    return killed, len(page.judged)


def kill_repeatedly(
    page: Page, killed: Counter, args: argparse.Namespace
) -> None:
    """Kill the server while files come and go, and check each time."""
    page.change()
    began = time.monotonic()
    page.update()
    page.judge()
    # Longer than alone: others search meanwhile.
    horizon = 4 * (time.monotonic() - began)
    end = time.monotonic() + 60 * args.minutes
    while killed.total() < args.kills and time.monotonic() < end:
        page.change()
        what = page.use(page.rng.uniform(0, horizon))
        killed[what] += 1
        page.start()
        page.check()
        print(
            f'{what}: {len(page.named)} files, {len(page.judged)} judgements',
            flush=True,
        )
    page.update()
    page.check()
    there = {path.name for path in page.folder.glob('*.mp4')}
    assert page.named == there, f'{page.named ^ there} differ'


def main() -> None:
    """Kill, check, and say what was done."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('--kills', type=int, default=10)
    parser.add_argument('--minutes', type=float, default=10.0)
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as top:
        killed, judged = kill_and_check(Path(top), args)
    print(
        f'killed {killed.total()} times, {killed["indexing"]} while indexing; '
        f'{judged} judgements and all files are there once: same as in one '
        f'go, {time.monotonic() - start:.0f} s'
    )
    if killed.total() < args.kills:
        sys.exit(f'{args.kills} kills were wanted; give more --minutes')


if __name__ == '__main__':
    main()
