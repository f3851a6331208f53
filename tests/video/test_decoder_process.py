"""Decoder processes end with those for whom they work, without a trace."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from torch.utils.data import DataLoader

from mmtvr.video import UnreadableVideoError
from mmtvr.video.decoder_process import (
    get_decoder_process,
    kill_decoder_processes,
)
from mmtvr.video.supervised_reader import supervise

FOLDER = Path(__file__).parent
LINUX = pytest.mark.skipif(sys.platform != 'linux', reason='needs /proc')


@pytest.fixture
def wait_until_dead(is_alive):
    """Wait for a process to end; returns whether it did."""

    def wait_until_dead(pid, seconds=20):
        end = time.monotonic() + seconds
        while is_alive(pid) and time.monotonic() < end:
            time.sleep(0.02)
        return not is_alive(pid)

    return wait_until_dead


def decoder_pid():
    return get_decoder_process(10**9).pid


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
def test_no_handle_and_no_decoder_is_left_behind(read, fork):
    def work():
        def use():
            read('good')
            own, decoder = os.getpid(), decoder_pid()
            children = Path(f'/proc/{own}/task/{own}/children').read_text()
            assert children.split() == [str(decoder)]
            mine = [held for held in shared_memory().values() if own in held]
            assert mine == [{own, decoder}]
            return len(files_of(own)), len(files_of(decoder))

        before = use()
        for name in ['good', 'unreadable', 'exits', 'blocks', 'exhausts'] * 4:
            limit = 0.2 if name == 'blocks' else 30
            with contextlib.suppress(UnreadableVideoError):
                read(name, time_limit=limit)
            assert use() == before

    # Other threads and garbage of this process open and close files too.
    fork(work).finish()


@LINUX
def test_a_thread_takes_its_decoder_along(wait_until_dead, read):
    pids = []

    def work():
        read('x')
        pids.append(decoder_pid())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert pids != [decoder_pid()]
    assert wait_until_dead(pids[0])


@LINUX
@pytest.mark.parametrize('evil', ['holds', 'spins'])
def test_a_killed_parent_takes_its_decoder_along(
    wait_until_dead, is_alive, stubs, tmp_path, evil
):
    code = (
        f'import sys; sys.path.insert(0, {str(FOLDER)!r})\n'
        'from functools import partial\n'
        'from mmtvr.video.decoder_process import get_decoder_process\n'
        'from mmtvr.video.supervised_reader import SupervisedReader\n'
        'from stub_readers import CountingReader\n'
        'print(get_decoder_process(9).pid, flush=True)\n'
        f'reader = SupervisedReader({evil!r}, reader=CountingReader)\n'
        'print("reading", flush=True)\n'
        'reader.get_frames([5])\n'
    )
    parent = subprocess.Popen(
        [sys.executable, '-c', code], stdout=subprocess.PIPE, text=True
    )
    decoder = int(parent.stdout.readline())
    assert parent.stdout.readline() == 'reading\n'
    assert is_alive(decoder)
    (file,) = (
        file
        for file, users in shared_memory().items()
        if users == {parent.pid, decoder}
    )
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    assert wait_until_dead(decoder)
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
        return value, os.getpid(), decoder_pid()


@LINUX
def test_each_worker_of_a_loader_has_its_own_decoder(
    wait_until_dead, stubs, read
):
    # A fork while this process has a decoder of its own.
    read('x')
    own = decoder_pid()
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
    decoders = {row[2] for row in rows}
    assert len(workers) == 2
    assert len(decoders) == 4
    assert own not in decoders
    assert all(map(wait_until_dead, decoders))
    assert read('x')[0, 0, 0, 0] == 5
    assert decoder_pid() == own


def test_who_kills_all_decoders_gets_a_new_one(read):
    read('x')
    first = decoder_pid()
    kill_decoder_processes()
    assert len(read('x')) == 2
    assert decoder_pid() != first
