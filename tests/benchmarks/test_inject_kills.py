"""Training that is killed, the short version of a longer script."""

import json
import runpy
import sys
import time
from pathlib import Path

import pytest

from benchmarks.faults.inject_kills import Forked

ROOT = Path(__file__).resolve().parents[2]


# First: the other one forks with what this one has imported.
def test_a_training_that_hangs_is_an_error_and_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(Forked, '_train', lambda _: time.sleep(600))
    with (
        pytest.raises(TimeoutError, match=r'not done after 0\.1 s'),
        Forked(tmp_path, tmp_path / 'work', False) as training,
    ):
        training.wait(0.1)
    assert training.poll() < 0


@pytest.mark.slow
def test_a_training_killed_at_random_moments_ends_as_one_left_alone(
    fork, tmp_path
):
    out = tmp_path / 'kills.json'

    def work():
        sys.argv = ['inject_kills', '--kills', '3', '--out', str(out)]
        name = 'benchmarks.faults.inject_kills'
        runpy.run_module(name, run_name='__main__', alter_sys=True)

    fork(work, PYTHONPATH=str(ROOT)).finish()
    report = json.loads(out.read_text())
    assert report['kills'] == 3
    assert report['during_a_write'] >= 1
    assert report['trainings'] >= 1
    assert report['trainings_that_differ'] == 0
    assert report['compared'] > 500
