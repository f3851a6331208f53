"""Forks that tests start end with the tests."""

import time

import forks
import pytest
from torch import distributed as dist


def test_a_fork_that_hangs_is_killed_and_told(fork):
    def hang():
        print('so far', flush=True)
        time.sleep(600)

    hanging = fork(hang)
    with pytest.raises(AssertionError, match=r'not done after 0.3 s: so far'):
        hanging.finish(check=False, seconds=0.3)
    assert hanging.process.exitcode < 0


def test_what_waits_for_a_failed_one_is_killed(in_processes, fork_starts):
    def work():
        if dist.get_rank() == 0:
            raise ValueError('broken')
        time.sleep(600)

    with pytest.raises(AssertionError, match='broken'):
        in_processes(2, work)
    assert len(fork_starts) == 2
    assert not any(each.process.is_alive() for each in fork_starts)


@pytest.fixture
def fork_starts(monkeypatch):
    """Forks that a test starts."""
    started = []
    begin = forks.Fork.__init__

    def note(self, *arguments):
        begin(self, *arguments)
        started.append(self)

    monkeypatch.setattr(forks.Fork, '__init__', note)
    return started
