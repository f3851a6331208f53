"""Indexing and serving that are killed, short versions of longer scripts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(script, *arguments):
    """Run a script of ``benchmarks/faults``, and return what it printed."""
    done = subprocess.run(
        [sys.executable, '-m', f'benchmarks.faults.{script}', *arguments],
        cwd=ROOT,
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'same as in one go' in done.stdout
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize('engine', ['lance', 'postgres'])
def test_an_index_killed_at_random_moments_equals_one_made_in_one_go(
    engine, request
):
    into = []
    if engine == 'postgres':
        into = ['--into', request.getfixturevalue('postgres_server').url]
    found = run('kill_indexing', '--kills', '2', '--videos', '60', *into)
    assert 'killed 2 times' in found


@pytest.mark.slow
def test_a_page_killed_at_a_random_moment_has_what_it_acknowledged():
    pytest.importorskip('uvicorn')
    assert 'killed 1 times' in run('kill_serving', '--kills', '1')
