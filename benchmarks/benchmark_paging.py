"""A thousand results of ``mmtvr serve`` in Chromium: pages, and scrolling.

``python -m benchmarks.benchmark_paging`` serves an index of moving shapes,
searches it, presses *Show more* until 1,000 results are there, and scrolls
through them, with thumbnails that are made then and once more with made ones.
It measures

* the seconds from the press to the further results, as a person sees them,
* the processor time of the server for the same page without thumbnails,
* the milliseconds between two frames while it scrolls (60 a second are 16.7),
  and how many of them are longer than 50.

``--against FOLDER`` measures another checkout first, on the same videos.
Selenium, ``chromium`` and ``chromedriver`` have to be there.
"""

import argparse
import asyncio
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import urlopen

import numpy as np
import psutil
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from benchmarks.benchmark_serve import ROOT, make_index, serving
from benchmarks.measuring import report
from mmtvr.datasets.moving_shapes.generation import ensure_moving_shapes

TEXT = 'a red circle rising'
PAGE = 96
MAX_OFFSET = 960
SLOW_FRAME = 50.0
FLAGS = ('headless', 'no-sandbox', 'disable-gpu', 'no-first-run')
# Presses, and answers with the milliseconds until the cards are laid out.
SHOW_MORE = """
const done = arguments[0], grid = document.querySelector('.grid');
const start = performance.now(), before = grid.children.length;
const link = document.querySelector('[data-more]');
if (!link) return done(null);
new MutationObserver(() => {
  if (grid.children.length === before) return;
  requestAnimationFrame(() => setTimeout(
    () => done(performance.now() - start)));
}).observe(grid, { childList: true });
link.click();
"""
# As a wheel does, two thirds of a screen each tenth of a second.
SCROLL = """
const done = arguments[0], deltas = [], step = innerHeight * 2 / 3 / 6;
scrollTo(0, 0);
let last = performance.now();
requestAnimationFrame(function go(now) {
  deltas.push(now - last);
  last = now;
  const end = document.documentElement.scrollHeight - innerHeight;
  if (scrollY >= end - 1) return done(deltas.slice(1));
  scrollBy(0, step);
  requestAnimationFrame(go);
});
"""


def open_browser(profile: str, width: int, height: int) -> Any:
    """Chromium without a window."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which('chromium') or ''
    for flag in (*FLAGS, f'window-size={width},{height}'):
        options.add_argument(f'--{flag}')
    options.add_argument(f'--user-data-dir={profile}')
    driver = Service(shutil.which('chromedriver'))
    browser = webdriver.Chrome(options=options, service=driver)
    browser.set_script_timeout(300)
    return browser


def find_cost(url: str, pid: int, offset: int) -> float:
    """Milliseconds of processor time of the server for one page."""
    server = psutil.Process(pid)
    address = f'{url}/?q={quote(TEXT)}&k={PAGE}&offset={offset}'
    costs = []
    for _ in range(3):
        before = sum(server.cpu_times()[:2])
        with urlopen(address, timeout=300) as answer:
            answer.read()
        costs.append(1000 * (sum(server.cpu_times()[:2]) - before))
    return float(np.median(costs))


def scroll(browser: Any) -> dict[str, float]:
    """Milliseconds between frames."""
    deltas = np.array(browser.execute_async_script(SCROLL))
    return {
        'frames': len(deltas),
        'median, ms': float(np.median(deltas)),
        'p95, ms': float(np.percentile(deltas, 95)),
        'longest, ms': float(deltas.max()),
        'slow, %': 100 * float((deltas > SLOW_FRAME).mean()),
    }


async def measure(
    name: str, package: Path, index: Path, args: argparse.Namespace
) -> dict[str, Any]:
    """All figures of a checkout."""
    with (
        tempfile.TemporaryDirectory() as cache,
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile,
    ):
        async with serving(package, index, Path(cache)) as (url, pid):
            return await asyncio.to_thread(
                use,
                name,
                url.rstrip('/'),
                pid,
                profile,
                args.width,
                args.height,
            )


def use(
    name: str, url: str, pid: int, profile: str, width: int, height: int
) -> dict[str, Any]:
    """Search, show more and scroll."""
    find_cost(url, pid, 0)
    costs = [
        find_cost(url, pid, offset)
        for offset in range(0, MAX_OFFSET + 1, 2 * PAGE)
    ]
    browser = open_browser(profile, width, height)
    try:
        browser.get(f'{url}/?q={quote(TEXT)}&k={PAGE}')
        presses = []
        while (wait := browser.execute_async_script(SHOW_MORE)) is not None:
            presses.append(wait / 1000)
            time.sleep(1)
        cards = 'return document.querySelectorAll(".grid > .card").length'
        results = browser.execute_script(cards)
        first = scroll(browser)
        time.sleep(5)
        again = scroll(browser)
    finally:
        browser.quit()
    return {
        'code': name,
        'page, CPU ms': float(np.median(costs)),
        'most': max(costs),
        'more, s': float(np.median(presses)),
        'longest, s': max(presses),
        'results': results,
        **first,
        **{f'again: {key}': value for key, value in again.items()},
    }


def main() -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--against', type=Path, help='another checkout')
    parser.add_argument('--videos', type=int, default=1100)
    parser.add_argument('--width', type=int, default=1280)
    parser.add_argument('--height', type=int, default=900)
    parser.add_argument('--out', type=Path)
    args = parser.parse_args()
    checkouts = dict(now=ROOT)
    if args.against:
        checkouts = dict(before=args.against.resolve(), **checkouts)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        videos = ensure_moving_shapes(folder, 'test', args.videos, 0)
        for code, package in checkouts.items():
            index = folder / code
            make_index(package, videos / 'videos', index)
            rows.append(asyncio.run(measure(code, package, index, args)))
            print(rows[-1], flush=True)
    report('A thousand results', rows, 'cpu', args.out)


if __name__ == '__main__':
    main()
