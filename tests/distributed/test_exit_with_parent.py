import contextlib
import functools
import os

import psutil
import pytest
from torch.utils.data import DataLoader

from mmtvr.distributed.exit_with_parent import ExitWithParent

SECONDS = 4


class Samples(list):
    """Samples of which each is more than a pipe holds."""

    def __getitem__(self, index):
        return bytes(2**20)


def note(path, worker):
    """Started in a worker: write down who it is."""
    path.write_text(str(os.getpid()))


def kill_myself_while_a_worker_loads(path):
    loader = DataLoader(
        Samples(range(9)),
        num_workers=1,
        collate_fn=list,
        worker_init_fn=ExitWithParent(functools.partial(note, path)),
    )
    # Its iterator must live on, or else it ends the workers in order.
    batches = iter(loader)
    next(batches)
    os.kill(os.getpid(), 9)


@pytest.mark.skipif(os.name != 'posix', reason='needs SIGKILL')
def test_workers_exit_with_a_killed_parent(fork, tmp_path):
    path = tmp_path / 'worker'
    parent = fork(functools.partial(kill_myself_while_a_worker_loads, path))
    assert parent.finish(check=False).returncode == -9
    worker = int(path.read_text())
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(worker).wait(SECONDS)
    assert not psutil.pid_exists(worker)
