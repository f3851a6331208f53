"""One of two processes dies or stalls; the other ends and names it."""

import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
WORK = """
import os, signal, subprocess, sys, time
import torch
from torch import distributed as dist
from mmtvr.cli.command import run_command
from mmtvr.distributed.launch import open_process_group
from mmtvr.distributed.phase import phase


def work():
    open_process_group('gloo', timeout=4.0)
    dist.all_reduce(torch.ones(1))
    subprocess.Popen(['sleep', '1000'])
    phase.enter('in the step of a test', step=1)
    if dist.get_rank() == 1:
        time.sleep(1.0)
        os.kill(os.getpid(), getattr(signal, sys.argv[1]))
    dist.all_reduce(torch.ones(1))


sys.exit(run_command(work))
"""
NAMED = r'error: rank 1 \(host \S+, pid \d+\) '


@pytest.fixture(scope='module')
def port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


@pytest.fixture
def break_one(tmp_path, port):
    """Run two processes; returns stderr, and what was left of them."""

    def run(fault):
        script = tmp_path / 'work.py'
        script.write_text(WORK)
        launch = ['-m', 'mmtvr.distributed.torchrun', '--nproc_per_node=2']
        launch += [f'--master_port={port}', str(script), fault]
        mark = str(tmp_path)
        launcher = subprocess.Popen(
            [sys.executable, *launch],
            env={
                **os.environ,
                'MMTVR_TEST': mark,
                'OMP_NUM_THREADS': '1',
                'CUDA_VISIBLE_DEVICES': '',
                'PYTHONPATH': str(ROOT),
            },
            stderr=subprocess.PIPE,
            text=True,
        )
        text = launcher.communicate(timeout=120)[1]
        return text, launcher.returncode, left_of(mark)

    return run


def left_of(mark):
    """Processes of a run that are there a second after its end."""
    time.sleep(1)
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get('MMTVR_TEST') == mark:
                found.append(process.cmdline())
        except psutil.Error:
            continue
    return found


# Both runs use the same port, which the first must have left. More faults are
# injected by benchmarks/faults/inject_process_faults.py.
@pytest.mark.slow
@pytest.mark.parametrize('fault', ['SIGSTOP', 'SIGKILL'])
def test_a_lost_process_ends_the_others_and_is_named(break_one, fault):
    text, status, left = break_one(fault)
    assert status == 1
    found = {
        'SIGSTOP': r'(gave no sign of life|made no progress) for \d s\n'
        '  rank 1 was ',
        'SIGKILL': 'was killed by SIGKILL ',
    }[fault] + 'in the step of a test'
    assert re.search(NAMED + found, text), text
    assert len(re.findall('^error', text, re.M)) == 1, text
    assert not left
