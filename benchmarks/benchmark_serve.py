"""Load and attack the page of ``mmtvr serve``, within bounds.

``python -m benchmarks.benchmark_serve`` serves an index of moving shapes with
a small model without a checkpoint, and measures

* searches a second by 1, 8 and 64 users who ask again as soon as they have
  their answer, each with a connection of its own, and how many were refused,
* how long a small file takes while four previews of a 4K clip are made,
* how long a request takes while 256 connections say nothing.

``--soak-minutes 10`` instead lets four users search, look at pages, load
thumbnails and parts of videos for so long, and measures whether the memory of
the server grows: the slope of its resident memory after a warm-up of a fifth
of the time, by least squares over means of half minutes.

``--against FOLDER`` measures another checkout in turn, as other work on the
machine changes the times of both alike: compare their ratios.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np
import psutil
from scipy import stats

from benchmarks.measuring import report
from mmtvr.datasets.moving_shapes.generation import ensure_moving_shapes
from mmtvr.search.stores.base import FileEntry

ROOT = Path(__file__).parents[1]
CONFIG = 'configs/ablation/tpmcl_moving_shapes_cosine-importance.py'
COLOURS = ('red', 'green', 'blue', 'yellow', 'white')
SHAPES = ('circle', 'square', 'star', 'triangle')
MOVES = ('rising', 'falling', 'going left', 'going right')
MAX_SECONDS_TO_START = 180
SILENT = 256
PREVIEWS = 4
SOAKING = 4
SECONDS_BETWEEN_SAMPLES = 2.0
SAMPLES_PER_MEAN = 15


class Client:
    """Ask a server over one connection, and a new one where it is closed."""

    def __init__(self, url: str) -> None:
        self.host, self.port = urlsplit(url).hostname, urlsplit(url).port
        self._streams: tuple | None = None

    async def get(self, path: str, more: str = '') -> tuple[int, bytes]:
        """Status and body; status 0 where there was no answer.

        Args:
            path: What to ask for.
            more: Further headers, each with its end of line.
        """
        try:
            if self._streams is None:
                self._streams = await asyncio.open_connection(
                    self.host, self.port
                )
            reader, writer = self._streams
            head = f'GET {path} HTTP/1.1\r\nHost: {self.host}\r\n{more}\r\n'
            writer.write(head.encode())
            lines = (await reader.readuntil(b'\r\n\r\n')).split(b'\r\n')
            headers = dict(
                line.lower().split(b': ', 1) for line in lines[1:] if line
            )
            body = await reader.readexactly(int(headers[b'content-length']))
            if headers.get(b'connection') == b'close':
                self.close()
            return int(lines[0].split()[1]), body
        except (OSError, asyncio.IncompleteReadError):
            self.close()
            return 0, b''

    def close(self) -> None:
        """Close the connection."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


def draw_text(drawn: np.random.Generator) -> str:
    """A text about moving shapes, quoted for an address."""
    words = map(drawn.choice, (COLOURS, SHAPES, MOVES))
    return quote('a {} {} {}'.format(*words))


async def search(url: str, users: int, seconds: float) -> dict[str, Any]:
    """Let users search for some seconds."""
    waits: list[float] = []
    refused = 0
    end = time.perf_counter() + seconds

    async def use(number: int) -> None:
        nonlocal refused
        drawn = np.random.default_rng(number)
        client = Client(url)
        while (start := time.perf_counter()) < end:
            text = draw_text(drawn)
            status, _ = await client.get(f'/api/search?q={text}&k=24')
            if status == 200:
                waits.append(time.perf_counter() - start)
            else:
                refused += 1
                await asyncio.sleep(0.1)
        client.close()

    start = time.perf_counter()
    await asyncio.gather(*map(use, range(users)))
    passed = time.perf_counter() - start
    return {
        'searches/s': len(waits) / passed,
        'p50, s': float(np.percentile(waits or [np.nan], 50)),
        'p99, s': float(np.percentile(waits or [np.nan], 99)),
        'slowest, s': max(waits, default=float('nan')),
        'refused': refused,
    }


async def open_during_previews(url: str, small: str, big: str) -> float:
    """Seconds that a small file takes while previews of a big one are made."""
    clients = [Client(url) for _ in range(PREVIEWS)]
    asked = [
        asyncio.create_task(client.get(f'/preview/{big}?t={number}'))
        for number, client in enumerate(clients)
    ]
    await asyncio.sleep(0.5)
    start = time.perf_counter()
    status, _ = await Client(url).get(f'/video/{small}')
    passed = time.perf_counter() - start
    assert status == 200
    await asyncio.wait(asked, timeout=180)
    for client in clients:
        client.close()
    return passed


async def ask_beside_silent(url: str, patience: float = 30) -> float:
    """Seconds to an answer beside silent connections; infinite if none."""
    where = urlsplit(url)
    silent = [
        await asyncio.open_connection(where.hostname, where.port)
        for _ in range(SILENT)
    ]
    start = time.perf_counter()
    passed = float('inf')
    while time.perf_counter() - start < patience:
        status, _ = await Client(url).get('/health')
        if status == 200:
            passed = time.perf_counter() - start
            break
        await asyncio.sleep(0.2)
    for _, writer in silent:
        writer.close()
    return passed


async def soak(url: str, pid: int, seconds: float) -> dict[str, Any]:
    """Use all of the page, and say by how much its memory grows."""
    server = psutil.Process(pid)
    start = time.perf_counter()
    asked = {'refused': 0}
    samples: list[tuple[float, float, float]] = []

    async def ask(client: Client, kind: str, path: str, more: str = '') -> Any:
        status, body = await client.get(path, more)
        kind = kind if status in (200, 206) else 'refused'
        asked[kind] = asked.get(kind, 0) + 1
        return body

    async def use(number: int) -> None:
        drawn = np.random.default_rng(number)
        client = Client(url)
        while time.perf_counter() - start < seconds:
            text = draw_text(drawn)
            body = await ask(client, 'search', f'/api/search?q={text}&k=24')
            results = json.loads(body)['results']
            first = drawn.choice(results)
            await ask(client, 'page', f'/?q={text}')
            await ask(client, 'page', f'/watch/{first["id"]}?q={text}')
            for each in results[:4]:
                await ask(client, 'thumbnail', each['poster'])
            span = f'Range: bytes={drawn.integers(2000)}-\r\n'
            await ask(client, 'range', first['video'], span)
        client.close()

    async def sample() -> None:
        while (passed := time.perf_counter() - start) < seconds:
            family = server.children(recursive=True)
            own = server.memory_info().rss / 2**20
            others = sum(each.memory_info().rss for each in family) / 2**20
            samples.append((passed, own, own + others))
            await asyncio.sleep(SECONDS_BETWEEN_SAMPLES)

    await asyncio.gather(sample(), *map(use, range(SOAKING)))
    row: dict[str, Any] = {'minutes': seconds / 60, **asked}
    times, *memories = np.array(samples).T
    for name, memory in zip(('server', 'all'), memories, strict=True):
        row[f'{name}, MiB'] = memory[-1]
        slope, low, high = find_slope(times / 60, memory)
        row[f'{name}, MiB/min'] = f'{slope:.3f} ({low:.3f} to {high:.3f})'
    return row


def find_slope(
    times: np.ndarray, values: np.ndarray
) -> tuple[float, float, float]:
    """Slope by least squares, with its interval of 95 %.

    Neighbouring samples are alike; means of several are less so. What was
    measured in the first fifth is left out.
    """
    warm = times >= times[-1] / 5
    count = warm.sum() // SAMPLES_PER_MEAN
    last = count * SAMPLES_PER_MEAN
    means = [
        each[warm][:last].reshape(count, -1).mean(1)
        for each in (times, values)
    ]
    found = stats.linregress(*means)
    half = stats.t.ppf(0.975, count - 2) * found.stderr
    return found.slope, found.slope - half, found.slope + half


def write_big_clip(path: Path, seconds: int) -> None:
    """A clip in 4K."""
    import av

    drawn = np.random.default_rng(0)
    noise = drawn.integers(0, 255, (2160, 3840, 3), np.uint8)
    noise = noise // 4 + 64
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('libx264', rate=30)
        stream.width, stream.height, stream.pix_fmt = 3840, 2160, 'yuv420p'
        stream.options = dict(preset='ultrafast', crf='30')
        for number in range(30 * seconds):
            frame = np.roll(noise, 8 * number, axis=1)
            frame = av.VideoFrame.from_ndarray(frame, format='rgb24')
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def make_index(package: Path, videos: Path, index: Path) -> None:
    """Index videos with the package of a checkout, which may not read ours."""
    subprocess.run(
        [
            *(sys.executable, '-m', 'mmtvr', 'index', str(package / CONFIG)),
            *(str(videos), '--checkpoint', 'none', '--into', str(index)),
        ],
        cwd=package,
        env={**os.environ, 'PYTHONPATH': str(package)},
        check=True,
        stdout=subprocess.DEVNULL,
    )


@asynccontextmanager
async def serving(
    package: Path, index: Path, cache: Path
) -> AsyncIterator[tuple[str, int]]:
    """Serve an index with the package of a checkout: address, process."""
    server = subprocess.Popen(
        [
            *(sys.executable, '-m', 'mmtvr', 'serve', str(index)),
            *('--json', '--port', '0', '--cache', str(cache)),
        ],
        cwd=package,
        env={**os.environ, 'PYTHONPATH': str(package)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        line = await asyncio.wait_for(
            asyncio.to_thread(server.stdout.readline), MAX_SECONDS_TO_START
        )
        yield json.loads(line)['url'], server.pid
    finally:
        server.kill()
        server.wait()


async def measure(
    name: str, package: Path, videos: Path, index: Path, args: Any
) -> list[dict[str, Any]]:
    """All figures of a checkout."""
    rows = []
    keys = [
        FileEntry(str(videos / each), '').key
        for each in ('video0.mp4', 'big.mp4')
    ]
    with tempfile.TemporaryDirectory() as cache:
        async with serving(package, index, Path(cache)) as (url, pid):
            await search(url, 1, 1)
            if args.soak_minutes:
                row = await soak(url, pid, 60 * args.soak_minutes)
                return [{'code': name, **row}]
            for users in args.users:
                found = await search(url, users, args.seconds)
                rows.append({'code': name, 'users': users, **found})
            opening = silent = float('nan')
            if args.clip_seconds:
                opening = await open_during_previews(url, *keys)
            if not args.no_silence:
                silent = await ask_beside_silent(url)
    rows[0] |= {'file, s': opening, 'beside silent, s': silent}
    for row in rows[1:]:
        row |= {'file, s': '', 'beside silent, s': ''}
    return rows


def main() -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--against', type=Path, help='another checkout')
    parser.add_argument('--videos', type=int, default=120)
    parser.add_argument('--users', type=int, nargs='+', default=[1, 8, 64])
    parser.add_argument('--seconds', type=float, default=8)
    parser.add_argument(
        '--clip-seconds', type=int, default=4, help='0: no 4K clip'
    )
    parser.add_argument('--soak-minutes', type=float, default=0)
    parser.add_argument('--no-silence', action='store_true')
    parser.add_argument('--out', type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        videos = ensure_moving_shapes(folder, 'test', args.videos, 0)
        videos = videos / 'videos'
        if args.clip_seconds:
            write_big_clip(videos / 'big.mp4', args.clip_seconds)
        checkouts = dict(now=ROOT)
        if args.against:
            checkouts = dict(before=args.against.resolve(), **checkouts)
        rows = []
        for code, package in checkouts.items():
            index = folder / code
            make_index(package, videos, index)
            rows += asyncio.run(measure(code, package, videos, index, args))
            print(*rows[-len(args.users) :], sep='\n', flush=True)
    report('The page under load and attack', rows, 'cpu', args.out)


if __name__ == '__main__':
    main()
