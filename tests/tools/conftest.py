"""Ways to run a tool."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='session')
def run_tool():
    """Run a script of ``tools/``; returns the finished process."""

    def run(tool, *arguments, check=True, port=None, path=None):
        command = [str(ROOT / 'tools' / tool), *map(str, arguments)]
        if tool.endswith('.py'):
            command.insert(0, sys.executable)
        folder = str(Path(sys.executable).parent)
        environment = {
            **os.environ,
            'OMP_NUM_THREADS': '1',
            'CUDA_VISIBLE_DEVICES': '',
            'HF_HUB_OFFLINE': '1',
            'PATH': os.pathsep.join([folder, os.environ['PATH']]),
            'PYTHONPATH': os.pathsep.join([str(ROOT), str(path or ROOT)]),
        }
        if port:
            environment['PORT'] = str(port)
        done = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        if check:
            assert done.returncode == 0, done.stdout + done.stderr
        return done

    return run
