"""How soon the embedded default trains, and what TPM-CL takes of its step.

``python -m benchmarks.benchmark_default`` starts ``tools/train.py
configs/tpmcl_moving_shapes.py`` several times, once before it counts so that
the videos exist, until the log shows the first iteration. Then it times
training steps of that model and of the same without TPM-CL, in turn, with as
many threads as training has.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope

from benchmarks.measuring import ratio, report, time_in_turn
from benchmarks.synthetic import draw_batch
from mmtvr.distributed.launch import leave_cores_to_workers
from mmtvr.registry import MODELS

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / 'configs/tpmcl_moving_shapes.py'
FIRST = 'Epoch(train)'


def seconds_to_first_iteration(config: Path, work_dir: str) -> float:
    """Start a training and end it after its first iteration."""
    command = [sys.executable, '-u', str(ROOT / 'tools/train.py'), str(config)]
    options = ['--work-dir', work_dir, '--cfg-options']
    start = time.perf_counter()
    with subprocess.Popen(
        [*command, *options, 'default_hooks.logger.interval=1'],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
    ) as training:
        for line in training.stdout:
            if FIRST in line:
                seconds = time.perf_counter() - start
                training.kill()
                return seconds
    raise RuntimeError(f'{config} did not come to an iteration')


def prepare_step(batch: int, partial: bool) -> Callable[[], object]:
    """Make model and optimizer, perhaps without TPM-CL, and a batch."""
    cfg = Config.fromfile(CONFIG)
    if not partial:
        cfg.model.partial_loss = None
    leave_cores_to_workers(cfg)
    init_default_scope('mmtvr')
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).train()
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper)
    inputs = draw_batch(20, batch, words=24, frames=8, size=54, device='cpu')

    def run() -> None:
        total, _ = model.parse_losses(model(inputs, mode='loss'))
        optimizer.update_params(total)

    return run


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
    threads = torch.get_num_threads()
    tasks = {}
    for name, partial in (('with', True), ('without', False)):
        torch.set_num_threads(threads)
        tasks[name] = prepare_step(args.batch, partial)
    seconds = time_in_turn(tasks, args.steps)
    report(
        'The embedded default',
        [
            {
                'first iteration after, s': median(starts[1:]),
                'training step, s': median(seconds['with']),
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
