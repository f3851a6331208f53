import errno
import io
import os
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import numpy as np
import psutil
import pytest
from PIL import Image
from starlette.testclient import TestClient

from mmtvr.search.stores.base import FileEntry
from mmtvr.serve.app import create_app
from mmtvr.serve.library import Library, display_name
from mmtvr.serve.media import (
    PREVIEW_SECONDS,
    DiskCache,
    choose_preview,
    find_preview_seconds,
)
from mmtvr.serve.requests import ChangedFileError
from mmtvr.video import UnreadableVideoError


def test_a_video_is_sent_as_it_is(client, key_of, videos):
    answer = client.get(f'/video/{key_of("plain.mp4")}')
    assert answer.content == (videos / 'plain.mp4').read_bytes()
    assert answer.headers['content-type'] == 'video/mp4'
    assert answer.headers['accept-ranges'] == 'bytes'
    assert 'content-disposition' not in answer.headers


@pytest.mark.parametrize(
    ('asked', 'part'),
    [
        ('bytes=0-9', slice(0, 10)),
        ('bytes=100-', slice(100, None)),
        ('bytes=-5', slice(-5, None)),
        ('bytes=5-1000000', slice(5, None)),
    ],
)
def test_ranges_are_sent(client, key_of, videos, asked, part):
    whole = (videos / 'plain.mp4').read_bytes()
    answer = client.get(
        f'/video/{key_of("plain.mp4")}', headers=dict(range=asked)
    )
    assert answer.status_code == 206
    assert answer.content == whole[part]
    assert answer.headers['content-range'].endswith(f'/{len(whole)}')


def test_a_range_behind_the_end_is_refused(client, key_of):
    address = f'/video/{key_of("plain.mp4")}'
    answer = client.get(address, headers=dict(range='bytes=9999999-'))
    assert answer.status_code == 416
    whole = client.head(address)
    assert whole.status_code == 200
    assert int(whole.headers['content-length']) > 1000
    assert not whole.content


def test_no_file_stays_open(client, key_of, videos):
    def is_open():
        files = psutil.Process().open_files()
        return str(file.resolve()) in [each.path for each in files]

    file = videos / 'plain.mp4'
    with file.open('rb'):
        assert is_open()
    address = f'/video/{key_of("plain.mp4")}'
    for headers in ({}, dict(range='bytes=0-5'), dict(range='bytes=x')):
        client.get(address, headers=headers)
        client.head(address, headers=headers)
    assert not is_open()


@pytest.mark.parametrize(
    'path',
    [
        '/video/../secret.txt',
        '/video/..%2f..%2fetc%2fpasswd',
        '/video/%2e%2e%2fsecret.txt',
        '/video//etc/passwd',
        '/video/%00',
        '/video/plain.mp4',
        '/video/' + 'a' * 5000,
        '/video/' + 'A' * 32,
        '/static/../app.py',
        '/static/..%2fapp.py',
        '/static/%2e%2e/app.py',
        '/static//etc/passwd',
        '/poster/..%2f..%2fetc%2fpasswd?t=0',
        '/preview/%2fetc%2fpasswd',
        "/strip/'%20OR%20'1'='1",
    ],
)
def test_only_files_of_the_index_are_sent(client, path):
    answer = client.get(path)
    assert answer.status_code == 404
    assert 'root:' not in answer.text
    assert 'import' not in answer.text


def test_a_file_beside_the_indexed_ones_is_not_sent(client, key_of):
    assert client.get(f'/video/{key_of("secret.txt")}').status_code == 404


@pytest.fixture
def entry(videos, tmp_path):
    """A video of its own, as an index would know it."""
    path = tmp_path / 'video.mp4'
    shutil.copy(videos / 'plain.mp4', path)
    about = path.stat()
    return FileEntry(
        str(path),
        'content',
        about.st_size,
        (about.st_mtime_ns, about.st_ctime_ns),
    )


def test_a_link_that_was_turned_elsewhere_is_not_followed(entry, tmp_path):
    library = Library(None)
    with library.open(entry)[0] as file:
        assert len(file.read()) == entry.size
    secret = tmp_path / 'secret'
    secret.write_bytes(b'x' * entry.size)
    os.utime(secret, ns=(entry.changed[0],) * 2)
    os.unlink(entry.path)
    os.symlink(secret, entry.path)
    with pytest.raises(ChangedFileError, match='has changed since'):
        library.open(entry)


def test_what_changes_while_it_is_read_is_not_shown(entry):
    library = Library(None)
    with pytest.raises(ChangedFileError), library.unchanged(entry) as path:
        Path(path).write_bytes(b'another')


@pytest.mark.parametrize('kind', ['gone', 'pipe', 'folder'])
def test_what_is_no_file_any_more_is_told(entry, kind):
    os.unlink(entry.path)
    if kind == 'pipe':
        os.mkfifo(entry.path)
    if kind == 'folder':
        os.mkdir(entry.path)
    with pytest.raises(ChangedFileError, match=r'^video\.mp4 '):
        Library(None).open(entry)


def test_names_tell_the_folder_that_was_indexed_only(tmp_path):
    path = str(tmp_path / 'a/b/c.mp4')
    inside = FileEntry(path, '', source=str(tmp_path / 'a'))
    (tmp_path / 'a').mkdir()
    assert display_name(inside) == 'b/c.mp4'
    assert display_name(FileEntry(path, '')) == 'c.mp4'
    # A name that is no text.
    assert display_name(FileEntry('/a/\udcff.mp4', '')) == '\ufffd.mp4'


def test_posters_show_the_moment(client, key_of, videos):
    key = key_of('plain.mp4')
    answer = client.get(f'/poster/{key}?t=1.3')
    assert answer.headers['content-type'] == 'image/jpeg'
    picture = Image.open(io.BytesIO(answer.content))
    with av.open(str(videos / 'plain.mp4')) as container:
        frames = list(container.decode(video=0))
    times = [frame.time for frame in frames]
    # The model sees eight frames; the nearest of them is shown.
    shown = client.get('/api/explain/' + key, params=dict(q='a')).json()
    nearest = min(shown['times'], key=lambda time: abs(time - 1.3))
    index = min(range(len(times)), key=lambda i: abs(times[i] - nearest))
    expected = frames[index].to_image()
    assert picture.size == expected.size
    difference = [
        abs(a - b)
        for a, b in zip(picture.tobytes(), expected.tobytes(), strict=True)
    ]
    assert sum(difference) / len(difference) < 6


def test_other_moments_make_no_further_files(client, key_of, app):
    key = key_of('plain.mp4')
    seen = {
        client.get(f'/poster/{key}?t={step / 10}').content
        for step in range(30)
    }
    assert len(seen) <= 8


def test_the_strip_has_all_frames(client, key_of):
    answer = client.get(f'/strip/{key_of("plain.mp4")}')
    picture = Image.open(io.BytesIO(answer.content))
    assert picture.size == (8 * 54, 54)


def test_previews_play_in_browsers(client, key_of):
    answer = client.get(f'/preview/{key_of("old.avi")}?t=1')
    assert answer.headers['content-type'] == 'video/mp4'
    with av.open(io.BytesIO(answer.content)) as container:
        (stream,) = container.streams
        assert stream.codec_context.name == 'h264'
        assert stream.codec_context.pix_fmt == 'yuv420p'
        assert len(list(container.decode(stream))) > 5


def test_a_preview_begins_a_second_before_the_moment():
    times = [step / 30 for step in range(3000)]
    chosen = choose_preview(np.array(times), 50.0)
    assert chosen.rate == pytest.approx(15)
    assert chosen.indices[0] == 49 * 30
    assert len(chosen.indices) == 150
    # A slow video has no more frames than it has.
    slow = choose_preview(np.array([0.0, 1.0, 2.0]), 1.5)
    assert slow.indices.tolist() == [0, 1, 2]
    assert slow.rate == pytest.approx(3 / 2.5, rel=0.1)
    assert choose_preview(np.zeros(1), 0.0).indices.tolist() == [0]


def test_the_cache_keeps_within_its_bytes(tmp_path):
    cache = DiskCache(tmp_path / 'cache', max_bytes=1000)
    made = []

    def get(number):
        def make():
            made.append(number)
            return b'x' * 300

        return cache.get(f'{number}.bin', make)

    for number in (0, 1, 2):
        os.utime(get(number), (number, number))
    get(0)
    get(3)
    kept = sorted(f.stat().st_size for f in cache.folder.iterdir())
    assert kept == [300, 300]
    assert made == [0, 1, 2, 3]
    get(0)
    assert made == [0, 1, 2, 3]
    assert DiskCache(tmp_path / 'cache').bytes == 600


def test_what_could_not_be_made_leaves_nothing(tmp_path):
    cache = DiskCache(tmp_path / 'cache')

    def fail():
        raise RuntimeError

    with pytest.raises(RuntimeError):
        cache.get('a.bin', fail)
    assert not list(cache.folder.iterdir())


def test_a_full_disk_sends_what_was_made(client, key_of, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr('mmtvr.serve.media.atomic_path', full)
    monkeypatch.setattr(DiskCache, 'find', lambda *_: None)
    key = key_of('old.avi')
    poster = client.get(f'/poster/{key}?t=0.5')
    assert Image.open(io.BytesIO(poster.content)).size[0] > 50
    assert Image.open(io.BytesIO(client.get(f'/strip/{key}').content))
    preview = client.get(f'/preview/{key}?t=1')
    assert preview.headers['content-type'] == 'video/mp4'
    with av.open(io.BytesIO(preview.content)) as container:
        assert len(list(container.decode(video=0))) > 5


@pytest.mark.parametrize('kind', ['video', 'poster', 'preview', 'strip'])
def test_what_a_browser_has_is_not_sent_again(client, key_of, kind):
    address = f'/{kind}/{key_of("plain.mp4")}'
    whole = client.get(address)
    tag, since = whole.headers['etag'], whole.headers['last-modified']
    time.sleep(0.01)
    for known in (
        {'if-none-match': tag},
        {'if-none-match': f'"other", W/{tag}'},
        {'if-none-match': '*'},
        {'if-modified-since': since},
        {'if-none-match': tag, 'range': 'bytes=0-5'},
    ):
        answer = client.get(address, headers=known)
        assert answer.status_code == 304, known
        assert answer.headers['etag'] == tag
        assert not answer.content
    for other in (
        {'if-none-match': '"other"'},
        {'if-none-match': '"other"', 'if-modified-since': since},
        {'if-modified-since': 'Mon, 01 Jan 2001 00:00:00 GMT'},
        {'if-modified-since': 'yesterday'},
    ):
        answer = client.get(address, headers=other)
        assert answer.status_code == 200, other
        assert answer.content == whole.content


@pytest.mark.parametrize(
    'asked',
    [
        *('x', 'bytes', 'bytes=', 'bytes=-', 'bytes=a-b', 'bytes=5-2'),
        *('bytes=0-5,x', 'lines=0-5', 'bytes=--5', 'bytes=1-2-3'),
        f'bytes={"9" * 5000}-',
        'bytes=\N{ARABIC-INDIC DIGIT FIVE}-'.encode(),
    ],
)
@pytest.mark.parametrize('kind', ['video', 'poster'])
def test_ranges_that_are_none_are_ignored(client, key_of, kind, asked):
    address = f'/{kind}/{key_of("plain.mp4")}'
    answer = client.get(address, headers=dict(range=asked))
    assert answer.status_code == 200
    assert answer.content == client.get(address).content


def test_a_file_waits_for_no_preview(videos, searcher, key_of, tmp_path):
    go, running = threading.Event(), threading.Semaphore(0)

    def wait(*_, **__):
        running.release()
        go.wait(20)
        raise UnreadableVideoError('x: slow')

    app = create_app(searcher, 'shapes', tmp_path)
    inner = app
    while not hasattr(inner, 'routes'):
        inner = inner.app
    media = next(
        route.endpoint.__self__
        for route in inner.routes
        if route.path == '/preview/{key}'
    )
    media.thumbnails.open_reader = wait
    key = key_of('plain.mp4')
    with (
        TestClient(app, 'http://localhost') as client,
        ThreadPoolExecutor(4) as pool,
    ):
        asked = [
            pool.submit(client.get, f'/preview/{key}?t={n / 4}')
            for n in range(4)
        ]
        assert running.acquire(timeout=10)
        answer = client.get(f'/video/{key}')
        assert answer.status_code == 200
        assert not any(each.done() for each in asked)
        go.set()
        assert {each.result().status_code for each in asked} == {422}


def test_the_cost_of_a_preview_is_bounded_by_its_pixels():
    times = np.arange(3000) / 30
    small, large = 640 * 360, 3840 * 2160
    assert find_preview_seconds(times, small) == PREVIEW_SECONDS
    seconds = find_preview_seconds(times, large)
    assert 3 < seconds < 5
    shown = choose_preview(times, 50.0, seconds)
    first, last = times[shown.indices[[0, -1]]]
    assert 30 * (last - first) * large < 1.1e9
    assert find_preview_seconds(np.zeros(1), 10**12) == 1.5
