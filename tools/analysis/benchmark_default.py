"""How soon the embedded default trains, and what TPM-CL takes of its step.

``python tools/analysis/benchmark_default.py`` starts ``tools/train.py
configs/tpmcl_moving_shapes.py`` several times, once before it counts so that
the videos exist, until the log tells of the first iteration. Then it times
forward and backward of that model and of the same without TPM-CL, in turn.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmark_large_batch import prepare
from measuring import ratio, report, time_in_turn

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / 'configs/tpmcl_moving_shapes.py'
WITHOUT = ROOT / 'configs/dmae_moving_shapes.py'
FIRST = 'Epoch(train)'


def seconds_to_first_iteration(config: Path, work_dir: str) -> float:
    """Start a training and end it after its first iteration.

    Args:
        config: Config file.
        work_dir: Folder for its log.

    Returns:
        Seconds from the start of the command.

    Raises:
        RuntimeError: The training ended before.
    """
    command = [sys.executable, '-u', str(ROOT / 'tools/train.py'), str(config)]
    options = ['--work-dir', work_dir, '--cfg-options']
    start = time.perf_counter()
    with subprocess.Popen(
        [*command, *options, 'default_hooks.logger.interval=1'],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        start_new_session=True,
    ) as training:
        for line in training.stdout:
            if FIRST in line:
                seconds = time.perf_counter() - start
                # Its data workers too, which may wait for it for ever.
                os.killpg(training.pid, signal.SIGKILL)
                return seconds
    raise RuntimeError(f'{config} did not come to an iteration')


def main() -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--steps', type=int, default=15)
    parser.add_argument('--batch', type=int, default=64)
    parser.add_argument('--out', type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        starts = [
            seconds_to_first_iteration(CONFIG, folder)
            for _ in range(args.repeats + 1)
        ]
    sizes = args.batch, 0, 24, 8, 54, False, 0, 'cpu'
    seconds = time_in_turn(
        {
            'with': prepare(str(CONFIG), *sizes),
            'without': prepare(str(WITHOUT), *sizes),
        },
        args.steps,
    )
    report(
        'The embedded default',
        [
            {
                'first iteration after, s': median(starts[1:]),
                'forward and backward, s': median(seconds['with']),
                'without TPM-CL, s': median(seconds['without']),
                'share of TPM-CL, %': 100
                * (1 - ratio(seconds['without'], seconds['with'])),
            }
        ],
        'cpu',
        args.out,
    )


if __name__ == '__main__':
    sys.exit(main())
