"""Nothing that a decoder does reaches the process that wants frames."""

import os
import time
from functools import partial

import numpy as np
import pytest

from mmtvr.errors import SetupError
from mmtvr.video import DecordReader, UnreadableVideoError
from mmtvr.video import decoder_process as module
from mmtvr.video.decoder_process import get_decoder_process
from mmtvr.video.supervised_reader import SupervisedReader, supervise


def decoder_pid():
    return get_decoder_process(10**9).pid


def test_all_that_a_reader_tells_comes_through(tiny_videos):
    path = tiny_videos / 'videos' / 'video1.mp4'
    indices = [29, 0, 7, 7]
    with (
        supervise(DecordReader, 60)(path, short_side=48) as supervised,
        DecordReader(path, short_side=48) as direct,
    ):
        assert len(supervised) == len(direct) == 30
        frames = supervised.get_frames(indices)
        np.testing.assert_array_equal(frames, direct.get_frames(indices))
        assert frames.dtype == np.uint8
        np.testing.assert_array_equal(
            supervised.get_times(), direct.get_times()
        )
        for name in ('original_shape', 'fps', 'codec', 'rotation'):
            assert getattr(supervised, name) == getattr(direct, name)
    assert supervise(DecordReader, None) is DecordReader


def test_a_relative_path_is_of_the_folder_where_it_is_read(
    tiny_videos, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    get_decoder_process(10**9)
    monkeypatch.chdir(tiny_videos / 'videos')
    with supervise(DecordReader, 60)('video1.mp4') as video:
        assert video.get_frames([0]).shape[0] == 1
    with pytest.raises(UnreadableVideoError, match=r'^gone\.mp4: '):
        supervise(DecordReader, 60)('gone.mp4')


def test_frames_of_two_open_files_stay_apart(stubs):
    kind = stubs.CountingReader
    with (
        SupervisedReader('a', reader=partial(kind, side=8)) as large,
        SupervisedReader('b', reader=partial(kind, side=2)) as small,
    ):
        first = large.get_frames([3])
        second = small.get_frames([4])
        assert large.get_frames([]).shape == (0, 8, 8, 3)
    assert first.shape == (1, 8, 8, 3)
    assert second.shape == (1, 2, 2, 3)
    assert (first == 3).all()
    assert (second == 4).all()


@pytest.mark.parametrize('evil', ['holds', 'blocks', 'spins'])
def test_a_decoder_that_never_ends_is_given_up(is_alive, read, evil):
    decoder = decoder_pid()
    start = time.monotonic()
    with pytest.raises(UnreadableVideoError) as caught:
        read(f'{evil}.mp4', time_limit=0.3)
    assert str(caught.value) == f'{evil}.mp4: gave up after 0.3 s (time_limit)'
    assert 0.3 <= time.monotonic() - start < 10
    assert not is_alive(decoder)
    assert read('good.mp4')[0, 0, 0, 0] == 5


def test_the_limit_holds_for_all_work_on_a_file(stubs):
    kind = stubs.CountingReader
    with SupervisedReader('blocks', reader=kind, time_limit=30) as reader:
        reader.get_times()
        assert 0 < reader._left < 30
        reader.restart_time_limit()
        assert reader._left == 30
        reader._left = 0.1
        with pytest.raises(UnreadableVideoError, match='after 30 s'):
            reader.get_frames([5])


@pytest.mark.parametrize(
    ('evil', 'message'),
    [
        ('segfaults', r'died of SIGSEGV \(Segmentation fault\)'),
        ('exits', 'ended its process with status 3'),
    ],
)
def test_a_decoder_that_dies_is_told_with_the_file(read, evil, message):
    with pytest.raises(
        UnreadableVideoError, match=f'^{evil}.mp4: .*{message}'
    ):
        read(f'{evil}.mp4')
    assert read('good.mp4')[1, 0, 0, 0] == 1


def test_errors_of_the_reader_keep_the_decoder(read):
    decoder = decoder_pid()
    with pytest.raises(UnreadableVideoError, match=r'^unreadable.*: as told$'):
        read('unreadable.mp4')
    with pytest.raises(UnreadableVideoError, match='not enough memory'):
        read('exhausts.mp4')
    with pytest.raises(RuntimeError, match='a mistake of the reader'):
        read('fails.mp4')
    assert (read('chatters.mp4')[0] == 5).all()
    assert decoder_pid() == decoder


def test_a_decoder_that_cannot_start_is_an_error(read, monkeypatch):
    monkeypatch.setitem(os.environ, 'PYTHONHOME', '/nowhere')
    with pytest.raises(SetupError, match='time_limit=None'):
        read('x')


def test_a_reader_without_a_name_is_refused(stubs):
    with pytest.raises(ValueError, match='cannot import'):
        SupervisedReader('x', reader=lambda path: None)


def test_a_decoder_gives_way_after_many_files(is_alive, read, monkeypatch):
    monkeypatch.setattr(module, 'FILES_PER_PROCESS', 3)
    pids = set()
    for _ in range(6):
        read('x')
        pids.add(decoder_pid())
    assert len(pids) == 2
    assert sum(map(is_alive, pids)) == 1
