"""Ask the page that ``mmtvr serve`` opens for itself, results and a video."""

import json
import sys
import time
from urllib.request import urlopen

PAGE = 'http://127.0.0.1:8000'
SECONDS_TO_START = 120


def get(path: str) -> bytes:
    """Get what is at a path; an answer that is no success is an error."""
    with urlopen(PAGE + path, timeout=60) as answer:
        return answer.read()


def wait_for_page() -> str:
    """Wait for the page; the last error is raised when time is up."""
    end = time.monotonic() + SECONDS_TO_START
    while True:
        try:
            return get('/').decode()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


if 'name="q"' not in wait_for_page():
    sys.exit(f'{PAGE}: no search box')
found = json.loads(get('/api/search?q=a+red+circle+rising'))['results']
print(f'{len(found)} results, the first: {found[0]}')
if len(get(found[0]['video'])) < 1000:
    sys.exit('the first video is not played')
