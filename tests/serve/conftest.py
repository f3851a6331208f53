"""A served index of six videos, some with hostile names."""

import shutil
import socket
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from mmtvr.apis.searcher import TextVideoSearcher, remove_from_index
from mmtvr.datasets.moving_shapes.generation import ensure_moving_shapes
from mmtvr.search.stores.base import FileEntry
from mmtvr.serve.app import create_app
from mmtvr.serve.connections import Limits, PageServer

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / 'configs/ablation'
# Its importance is not learned, so it needs no checkpoint.
CONFIG = FOLDER / 'tpmcl_moving_shapes_cosine-importance.py'
BROWSER = shutil.which('chromium') or shutil.which('google-chrome')
DRIVER = shutil.which('chromedriver')
FLAGS = (
    *('headless', 'no-sandbox', 'disable-gpu', 'disable-quic'),
    *('no-first-run', 'disable-background-networking', 'disable-sync'),
    *('disable-component-update', 'window-size=1280,900'),
)
NAMES = (
    '<script>alert(1)<∕script>.mp4',
    "quotes\" onerror='alert(1)' &amp;.mp4",
    'new\nline %2e%2e {{ 7*7 }}.mp4',
    'כלב 犬 \N{DOG FACE}.mp4',
    'plain.mp4',
)


def make_avi(source: Path, target: Path) -> None:
    """MPEG-4 in AVI, which browsers do not play."""
    import av

    with av.open(str(source)) as old, av.open(str(target), 'w') as new:
        video = new.add_stream('mpeg4', rate=10)
        size = old.streams.video[0]
        video.width, video.height = size.width, size.height
        video.pix_fmt = 'yuv420p'
        for frame in old.decode(video=0):
            picture = frame.to_ndarray(format='rgb24')
            picture = av.VideoFrame.from_ndarray(picture, format='rgb24')
            new.mux(video.encode(picture))
        new.mux(video.encode())


@pytest.fixture(scope='session')
def videos(tmp_path_factory):
    """Folder of videos; do not change it."""
    root = tmp_path_factory.mktemp('shapes')
    made = ensure_moving_shapes(root, 'test', 6, 0) / 'videos'
    folder = tmp_path_factory.mktemp('served') / 'videos'
    folder.mkdir()
    for number, name in enumerate(NAMES):
        shutil.copy(made / f'video{number}.mp4', folder / name)
    make_avi(made / 'video0.mp4', folder / 'old.avi')
    (folder / 'secret.txt').write_text('secret')
    return folder


@pytest.fixture(scope='session')
def searcher(videos, tmp_path_factory):
    """The model with an index of them."""
    found = TextVideoSearcher(CONFIG)
    into = tmp_path_factory.mktemp('index') / 'shapes'
    report = found.index(videos, into=into, progress=False)
    assert not report.unreadable
    return found


@pytest.fixture(scope='session')
def app(searcher, tmp_path_factory):
    """The application."""
    cache = tmp_path_factory.mktemp('cache')
    return create_app(searcher, 'shapes <index>', cache, ['videos.test'])


@pytest.fixture(scope='session')
def client(app):
    """Ask the application."""
    with TestClient(app, base_url='http://127.0.0.1:8000') as client:
        yield client


@pytest.fixture(scope='session')
def key_of(videos):
    """Key of a file by its name."""
    return lambda name: FileEntry(str(videos / name), '').key


@pytest.fixture(scope='session')
def names():
    """Names of the MP4 files as pages show them."""
    return NAMES


@pytest.fixture(scope='session')
def empty_client(videos, tmp_path_factory):
    """Ask an application whose index has no videos any more."""
    root = tmp_path_factory.mktemp('empty')
    searcher = TextVideoSearcher(CONFIG)
    video = videos / 'plain.mp4'
    searcher.index(video, into=root / 'index', progress=False)
    remove_from_index(root / 'index', video)
    empty = create_app(searcher, 'an empty one', root / 'cache')
    with TestClient(empty, base_url='http://localhost') as client:
        yield client


@contextmanager
def serve(app, **limits):
    """Serve an application at a free port."""
    listening = socket.create_server(('127.0.0.1', 0))
    server = PageServer(app, Limits(**limits))
    thread = threading.Thread(
        target=server.run, kwargs=dict(sockets=[listening])
    )
    thread.start()
    yield f'http://127.0.0.1:{listening.getsockname()[1]}'
    server.should_exit = True
    thread.join(20)


@pytest.fixture(scope='session')
def serving():
    """Serve an application at a free port while a context lasts."""
    return serve


@pytest.fixture(scope='session')
def chromium(tmp_path_factory):
    """A real browser; tests that use it skip without it."""
    webdriver = pytest.importorskip('selenium.webdriver')
    from selenium.webdriver.chrome.service import Service

    if not (BROWSER and DRIVER):
        pytest.skip('there is no Chromium here')
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in FLAGS:
        options.add_argument(f'--{flag}')
    profile = tmp_path_factory.mktemp('profile')
    options.add_argument(f'--user-data-dir={profile}')
    browser = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield browser
    browser.quit()
