"""LoadVideoFrames with a cache gives what it gives without."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from torch.utils.data import DataLoader

from mmtvr.errors import SetupError
from mmtvr.registry import TRANSFORMS
from mmtvr.video import VideoReader


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr('mmtvr.video.cache.SETTLED_AFTER', -1e9)
    return str(tmp_path / 'cache')


def build(folder=None, **options):
    cache = options.pop('cache', {})
    if folder is not None:
        cache = dict(folder=folder, reserve_gb=0, **cache)
    return TRANSFORMS.build(
        dict(type='mmtvr.LoadVideoFrames', cache=cache or None, **options)
    )


@pytest.fixture
def opened(monkeypatch):
    """Paths of the files that were really opened."""
    paths = []

    def count(self, path, short_side=None, real=VideoReader.__init__):
        real(self, path, short_side)
        if 'Cached' not in type(self).__name__:
            paths.append(Path(path).name)

    monkeypatch.setattr(VideoReader, '__init__', count)
    return paths


def assert_same(results, expected):
    assert list(results) == list(expected)
    for name, value in expected.items():
        assert type(results[name]) is type(value), name
        np.testing.assert_array_equal(results[name], value, err_msg=name)


SPANS = [dict(), dict(start=1.0, end=2.5), dict(start=3.2)]


@pytest.mark.parametrize('span', SPANS)
@pytest.mark.parametrize('short_side', [None, 40])
@pytest.mark.parametrize('name', ['video0.mp4', 'video3.mp4'])
def test_test_mode_is_identical_and_decoded_once(
    tiny_videos, folder, opened, name, short_side, span
):
    sample = dict(filename=str(tiny_videos / 'videos' / name), **span)
    options = dict(num_frames=6, test_mode=True, short_side=short_side)
    if 'start' in span and name == 'video3.mp4':
        sample.update(start=0.1, end=0.3)
    expected = build(**options)(sample)
    del opened[:]
    for _ in range(3):
        assert_same(build(folder, **options)(sample), expected)
    assert opened == [name]


@pytest.mark.parametrize('span', SPANS[:2])
@pytest.mark.parametrize('coding', ['raw', 'jpeg'])
def test_cold_and_warm_cache_draw_the_same(
    tiny_videos, folder, opened, coding, span
):
    path = str(tiny_videos / 'videos' / 'video0.mp4')
    runs = []
    for _ in range(2):
        np.random.seed(3)
        transform = build(folder, num_frames=4, cache=dict(coding=coding))
        visits = [transform(dict(filename=path, **span)) for _ in range(5)]
        runs.append((visits, np.random.get_state()[1].tolist()))
    assert opened == ['video0.mp4']
    for cold, warm in zip(*(visits for visits, _ in runs), strict=True):
        assert_same(warm, cold)
    assert runs[0][1] == runs[1][1]
    assert len({tuple(each['frame_inds']) for each in runs[0][0]}) > 2


@pytest.mark.parametrize('name', ['video0.mp4', 'video3.mp4'])
def test_draws_are_those_without_a_cache_if_all_frames_are_kept(
    tiny_videos, folder, name
):
    path = str(tiny_videos / 'videos' / name)
    runs = []
    for where in (None, folder):
        np.random.seed(5)
        keep = dict(frames_per_segment=10) if where else {}
        transform = build(where, num_frames=7, cache=keep)
        runs.append([transform(dict(filename=path)) for _ in range(4)])
    for expected, results in zip(*runs, strict=True):
        assert_same(results, expected)


def test_every_kept_frame_is_drawn_and_shows_its_number(
    tiny_videos, folder, read_stamp
):
    path = str(tiny_videos / 'videos' / 'video0.mp4')
    transform = build(folder, num_frames=4, cache=dict(frames_per_segment=3))
    drawn = set()
    for _ in range(60):
        results = transform(dict(filename=path))
        stamps = [read_stamp(frame) for frame in results['imgs']]
        assert stamps == results['frame_inds'].tolist()
        drawn.update(stamps)
    assert drawn == {1, 5, 8, 11, 15, 18, 21, 25, 28, 31, 35, 38}


def test_replaced_file_is_decoded_again(tiny_videos, folder, opened, tmp_path):
    path = str(shutil.copy(tiny_videos / 'videos/video0.mp4', tmp_path))
    transform = build(folder, num_frames=3, test_mode=True)
    transform(dict(filename=path))
    shutil.copy(tiny_videos / 'videos' / 'video2.mp4', path)
    results = transform(dict(filename=path))
    assert results['total_frames'] == 25
    assert len(opened) == 2
    os.utime(path)
    assert transform(dict(filename=path))['total_frames'] == 25
    # Another time, the same content.
    assert len(opened) == 2


def test_damaged_frames_are_decoded_again(tiny_videos, folder, opened):
    sample = dict(filename=str(tiny_videos / 'videos' / 'video0.mp4'))
    options = dict(num_frames=3, test_mode=True)
    expected = build(folder, **options)(sample)
    (entry,) = Path(folder).glob('??/*.entry')
    content = bytearray(entry.read_bytes())
    content[5000] ^= 1
    entry.write_bytes(content)
    for _ in range(2):
        assert_same(build(folder, **options)(sample), expected)
    assert len(opened) == 2


def test_full_disk_leaves_the_results_as_they_are(tiny_videos, folder, caplog):
    path = str(tiny_videos / 'videos' / 'video0.mp4')
    runs = []
    for limit in (None, 0):
        np.random.seed(1)
        transform = build(folder + str(limit), cache=dict(limit_gb=limit))
        runs.append([transform(dict(filename=path)) for _ in range(3)])
    for expected, results in zip(*runs, strict=True):
        assert_same(results, expected)


def test_workers_of_a_loader_fill_and_use_one_cache(
    tiny_videos, folder, opened
):
    paths = sorted(str(each) for each in (tiny_videos / 'videos').glob('*'))
    samples = [dict(filename=path) for path in paths] * 2
    transform = build(folder, num_frames=3, test_mode=True)

    class Samples:
        def __len__(self):
            return len(samples)

        def __getitem__(self, number):
            results = transform(samples[number])
            return int(np.stack(results['imgs']).sum()), len(opened)

    epochs = [
        list(DataLoader(Samples(), None, num_workers=2, collate_fn=list))
        for _ in range(2)
    ]
    first, second = ([total for total, _ in each] for each in epochs)
    assert first == second
    assert sum(count for _, count in epochs[0]) > 0
    assert sum(count for _, count in epochs[1]) == 0


def test_unreadable_video_is_no_matter_of_the_cache(tmp_path, folder):
    broken = tmp_path / 'broken.mp4'
    broken.write_bytes(b'no video')
    for path in (broken, tmp_path / 'gone.mp4'):
        assert build(folder)(dict(filename=str(path))) is None
        with pytest.raises(SetupError, match=path.name):
            build(folder, test_mode=True)(dict(filename=str(path)))


@pytest.mark.parametrize(
    'cache', [dict(folder='x', size=3), dict(coding='raw'), dict(folder='')]
)
def test_unknown_options_of_the_cache_are_refused(cache):
    with pytest.raises(SetupError, match='expected folder and'):
        build(cache=cache)


def test_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / 'cache').touch()
    with pytest.raises(SetupError, match='is a file'):
        build(str(tmp_path / 'cache'))
