"""Nothing that a decoder does reaches the process that wants frames."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from torch.utils.data import DataLoader

from mmtvr.errors import SetupError
from mmtvr.video import DecordReader, UnreadableVideoError
from mmtvr.video import helper_process as module
from mmtvr.video.helper_process import end_helper, get_helper
from mmtvr.video.supervised_reader import SupervisedReader, supervise

FOLDER = Path(__file__).parent
LINUX = pytest.mark.skipif(sys.platform != 'linux', reason='needs /proc')


@pytest.fixture
def stubs(monkeypatch):
    """Stub readers, which the helper of each test can import."""
    end_helper()
    monkeypatch.syspath_prepend(FOLDER)
    import stub_readers

    yield stub_readers
    end_helper()


@pytest.fixture
def read(stubs):
    """Open and read with a reader that counts; returns the frames."""

    def read(name, indices=(5, 1), time_limit=30.0, **options):
        kind = partial(stubs.CountingReader, **options)
        with SupervisedReader(name, reader=kind, time_limit=time_limit) as r:
            return r.get_frames(indices)

    return read


def helper_pid():
    return get_helper(10**9).pid


def is_alive(pid):
    try:
        state = Path(f'/proc/{pid}/stat').read_text().rpartition(') ')[2][0]
    except FileNotFoundError:
        return False
    return state != 'Z'


def wait_until_dead(pid, seconds=20):
    end = time.monotonic() + seconds
    while is_alive(pid) and time.monotonic() < end:
        time.sleep(0.02)
    return not is_alive(pid)


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
def test_a_decoder_that_never_ends_is_given_up(read, evil):
    helper = helper_pid()
    start = time.monotonic()
    with pytest.raises(UnreadableVideoError) as caught:
        read(f'{evil}.mp4', time_limit=0.3)
    assert str(caught.value) == f'{evil}.mp4: gave up after 0.3 s (time_limit)'
    assert 0.3 <= time.monotonic() - start < 10
    assert not is_alive(helper)
    assert read('good.mp4')[0, 0, 0, 0] == 5


def test_the_limit_holds_for_all_work_on_a_file(stubs):
    kind = stubs.CountingReader
    with SupervisedReader('blocks', reader=kind, time_limit=30) as reader:
        reader.get_times()
        assert 0 < reader._left < 30
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


def test_errors_of_the_reader_keep_the_helper(read):
    helper = helper_pid()
    with pytest.raises(UnreadableVideoError, match=r'^unreadable.*: as told$'):
        read('unreadable.mp4')
    with pytest.raises(UnreadableVideoError, match='not enough memory'):
        read('exhausts.mp4')
    with pytest.raises(RuntimeError, match='a mistake of the reader'):
        read('fails.mp4')
    assert (read('chatters.mp4')[0] == 5).all()
    assert helper_pid() == helper


def test_a_helper_that_cannot_start_is_an_error(read, monkeypatch):
    monkeypatch.setitem(os.environ, 'PYTHONHOME', '/nowhere')
    with pytest.raises(SetupError, match='time_limit=None'):
        read('x')


def test_a_reader_without_a_name_is_refused(stubs):
    with pytest.raises(ValueError, match='cannot import'):
        SupervisedReader('x', reader=lambda path: None)


def test_a_helper_gives_way_after_many_files(read, monkeypatch):
    monkeypatch.setattr(module, 'FILES_PER_HELPER', 3)
    pids = set()
    for _ in range(6):
        read('x')
        pids.add(helper_pid())
    assert len(pids) == 2
    assert sum(map(is_alive, pids)) == 1


def files_of(pid):
    """What the file descriptors of a process lead to, by number."""
    found = {}
    for link in Path(f'/proc/{pid}/fd').iterdir():
        with contextlib.suppress(OSError):
            found[int(link.name)] = os.readlink(link)
    return found


def shared_memory():
    """Processes that have a file of frames open, by the file."""
    found = {}
    for folder in Path('/proc').glob('[0-9]*'):
        with contextlib.suppress(OSError):
            for number, name in files_of(folder.name).items():
                if name.startswith('/memfd:mmtvr-frames'):
                    file = os.stat(folder / 'fd' / str(number)).st_ino
                    found.setdefault(file, set()).add(int(folder.name))
    return found


@LINUX
def test_no_handle_and_no_helper_is_left_behind(read, fork):
    def work():
        def use():
            read('good')
            own, helper = os.getpid(), helper_pid()
            children = Path(f'/proc/{own}/task/{own}/children').read_text()
            assert children.split() == [str(helper)]
            mine = [held for held in shared_memory().values() if own in held]
            assert mine == [{own, helper}]
            return len(files_of(own)), len(files_of(helper))

        before = use()
        for name in ['good', 'unreadable', 'exits', 'blocks', 'exhausts'] * 4:
            limit = 0.2 if name == 'blocks' else 30
            with contextlib.suppress(UnreadableVideoError):
                read(name, time_limit=limit)
            assert use() == before

    # Other threads and garbage of this process open and close files too.
    fork(work).finish()


@LINUX
def test_a_thread_takes_its_helper_along(read):
    pids = []

    def work():
        read('x')
        pids.append(helper_pid())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert pids != [helper_pid()]
    assert wait_until_dead(pids[0])


@LINUX
@pytest.mark.parametrize('evil', ['holds', 'spins'])
def test_a_killed_parent_takes_its_helper_along(stubs, tmp_path, evil):
    code = (
        f'import sys; sys.path.insert(0, {str(FOLDER)!r})\n'
        'from functools import partial\n'
        'from mmtvr.video.helper_process import get_helper\n'
        'from mmtvr.video.supervised_reader import SupervisedReader\n'
        'from stub_readers import CountingReader\n'
        'print(get_helper(9).pid, flush=True)\n'
        f'reader = SupervisedReader({evil!r}, reader=CountingReader)\n'
        'print("reading", flush=True)\n'
        'reader.get_frames([5])\n'
    )
    parent = subprocess.Popen(
        [sys.executable, '-c', code], stdout=subprocess.PIPE, text=True
    )
    helper = int(parent.stdout.readline())
    assert parent.stdout.readline() == 'reading\n'
    assert is_alive(helper)
    (file,) = (
        file
        for file, users in shared_memory().items()
        if users == {parent.pid, helper}
    )
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    assert wait_until_dead(helper)
    assert file not in shared_memory()


class Frames:
    """A dataset whose samples know who read them."""

    def __init__(self, stubs, names):
        self.reader = supervise(stubs.CountingReader, 2.0)
        self.names = names

    def __len__(self):
        return len(self.names)

    def __getitem__(self, index):
        try:
            with self.reader(self.names[index]) as reader:
                value = int(reader.get_frames([5])[0, 0, 0, 0])
        except UnreadableVideoError:
            value = -1
        return value, os.getpid(), helper_pid()


@LINUX
def test_each_worker_of_a_loader_has_its_own_helper(stubs, read):
    # A fork while this process has a helper of its own.
    read('x')
    own = helper_pid()
    names = ['good', 'good', 'holds', 'good', 'exits', 'good', 'good', 'good']
    loader = DataLoader(
        Frames(stubs, names),
        num_workers=2,
        batch_size=None,
        multiprocessing_context='fork',
    )
    rows = list(loader)
    assert [row[0] for row in rows] == [5, 5, -1, 5, -1, 5, 5, 5]
    workers = {row[1] for row in rows}
    helpers = {row[2] for row in rows}
    assert len(workers) == 2
    assert len(helpers) == 4
    assert own not in helpers
    assert all(map(wait_until_dead, helpers))
    assert read('x')[0, 0, 0, 0] == 5
    assert helper_pid() == own
