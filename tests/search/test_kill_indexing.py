"""Indexing that is killed, the short version of a longer script."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.parametrize('engine', ['lance', 'postgres'])
def test_an_index_killed_at_random_moments_equals_one_made_in_one_go(
    engine, request
):
    script = 'benchmarks.faults.kill_indexing'
    into = []
    if engine == 'postgres':
        into = ['--into', request.getfixturevalue('postgres_server').url]
    done = subprocess.run(
        [
            *(sys.executable, '-m', script, '--kills', '2'),
            *('--videos', '60', *into),
        ],
        cwd=ROOT,
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'killed 2 times' in done.stdout
    assert 'same as in one go' in done.stdout
