"""What each part brings on moving shapes, over several seeds.

Each row of ``ROWS`` is a config with options; each run is ``tools/train.py``
in a process of its own. Results go to ``runs.csv``, one line per run, as soon
as they are there: a stopped ablation goes on where it stopped. At the end, and
with ``--report`` at any time, ``results.md`` and ``results.png`` are written.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from benchmarks.ablation.ablation_report import (
    METRICS,
    STATS,
    append_result,
    draw,
    read_results,
    write_table,
)
from benchmarks.ablation.ablation_rows import ROWS

ROOT = Path(__file__).resolve().parents[2]

Run = tuple[str, int]


def train(
    run: Run, folder: Path, epochs: int, options: Sequence[str], threads: int
) -> dict[str, object]:
    """Train one row with one seed.

    Args:
        run: Name of the row, and the seed.
        folder: Work folder of this run; its ``log.txt`` holds the output.
        epochs: Length of the training.
        options: Further ``KEY=VALUE`` for ``--cfg-options``.
        threads: Threads that compute.

    Returns:
        The values of ``COLUMNS`` at the last epoch.

    Raises:
        RuntimeError: If training fails; the message names its log.
    """
    row, seed = run
    config, changes = ROWS[row]
    chosen = {
        'train_cfg.max_epochs': epochs,
        'train_cfg.val_interval': epochs,
        'param_scheduler.0.end': 0.1 * epochs,
        'param_scheduler.1.begin': 0.1 * epochs,
        'param_scheduler.1.end': epochs,
        'param_scheduler.1.T_max': 0.9 * epochs,
        'default_hooks.checkpoint.interval': -1,
        'default_hooks.checkpoint.save_best': None,
        **changes,
    }
    command = [sys.executable, str(ROOT / 'tools/train.py')]
    command += [str(ROOT / config), '--seed', str(seed)]
    command += ['--work-dir', str(folder), '--cfg-options']
    command += [f'{key}={value}' for key, value in chosen.items()]
    folder.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    log = folder / 'log.txt'
    with log.open('w', encoding='utf-8') as file:
        done = subprocess.run(
            [*command, *options],
            env={**os.environ, 'OMP_NUM_THREADS': str(threads)},
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    if done.returncode:
        raise RuntimeError(f'{row}, seed {seed}: training failed, see {log}')
    return {
        'row': row,
        'seed': seed,
        'epochs': epochs,
        **read_scalars(folder),
        'seconds': round(time.monotonic() - start),
    }


def read_scalars(folder: Path) -> dict[str, float]:
    """Read what mmengine logged last.

    Args:
        folder: Work folder of one run.

    Returns:
        The values of ``METRICS`` and, where there are any, of ``STATS``.
    """
    last: dict[str, float] = {}
    newest = max(folder.glob('*/vis_data/scalars.json'))
    for line in newest.read_text(encoding='utf-8').splitlines():
        last.update(json.loads(line))
    metrics = {name: last[f'retrieval/{name}'] for name in METRICS}
    return metrics | {name: last[name] for name in STATS if name in last}


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--out', type=Path, default=Path('work_dirs/ablation'))
    parser.add_argument(
        '--seeds', type=int, nargs='+', default=[0, 1, 2, 3, 4]
    )
    parser.add_argument(
        '--rows',
        nargs='+',
        choices=ROWS,
        default=list(ROWS),
        metavar='ROW',
        help='names out of ablation_rows.py (default: all)',
    )
    parser.add_argument('--epochs', type=int, default=5)
    parser.add_argument(
        '--jobs', type=int, default=1, help='runs side by side'
    )
    parser.add_argument(
        '--report', action='store_true', help='only write table and plot'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        default=[],
        metavar='KEY=VALUE',
        help='settings for every run: train_dataloader.num_workers=0',
    )
    return parser.parse_args()


def run_all(args: argparse.Namespace, runs: Sequence[Run]) -> int:
    """Train what is not done, several runs at a time.

    Args:
        args: The command line.
        runs: Rows and seeds that are to be trained.

    Returns:
        Number of runs that failed.
    """
    threads = max(1, (os.cpu_count() or 1) // args.jobs)
    failures = 0
    with ThreadPoolExecutor(args.jobs) as pool:
        futures = [
            pool.submit(
                train,
                run,
                args.out / run[0].replace(' ', '_') / str(run[1]),
                args.epochs,
                args.cfg_options,
                threads,
            )
            for run in runs
        ]
        for number, future in enumerate(as_completed(futures), 1):
            try:
                result = future.result()
            except RuntimeError as error:
                failures += 1
                print(f'error: {error}', file=sys.stderr)
                continue
            append_result(args.out / 'runs.csv', result)
            print(
                f'{number}/{len(futures)}  {result["row"]}, seed '
                f'{result["seed"]}: t2v R@1 {result["R1"]:.2f}, v2t R@1 '
                f'{result["v2t_R1"]:.2f}, {result["seconds"]} s',
                flush=True,
            )
    return failures


def main() -> int:
    """Run the ablation; the exit status is 1 if a run failed."""
    args = parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / 'runs.csv'
    done = {
        (run['row'], int(run['seed']))
        for run in read_results(path)
        if int(run['epochs']) == args.epochs
    }
    runs = [
        (row, seed)
        for seed in args.seeds
        for row in args.rows
        if (row, seed) not in done
    ]
    failures = 0 if args.report else run_all(args, runs)
    results = [
        run for run in read_results(path) if int(run['epochs']) == args.epochs
    ]
    if results:
        write_table(args.out / 'results.md', results)
        draw(args.out / 'results.png', results)
        print((args.out / 'results.md').read_text(encoding='utf-8'))
    return 1 if failures else 0


if __name__ == '__main__':
    sys.exit(main())
