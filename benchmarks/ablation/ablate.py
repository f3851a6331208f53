"""What each part brings on moving shapes, over several seeds.

Each row of ``ROWS`` is a config with options; each run is ``tools/train.py``
in a process of its own. Results go to ``runs.csv``, one line per run, as soon
as they are there: a stopped ablation goes on where it stopped. At the end, and
with ``--report`` at any time, ``results.md`` and ``results.png`` are written.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from statistics import mean, stdev

from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parents[2]

METRICS = ('R1', 'R5', 'R10', 'v2t_R1', 'v2t_R5', 'v2t_R10')
STATS = (
    'hard_negatives_per_row',
    'removed_frames',
    'removed_words',
    'active_frames',
    'active_word_global_frames',
    'active_words',
    'active_frame_global',
)
COLUMNS = ('row', 'seed', 'epochs', *METRICS, *STATS, 'seconds')

Run = tuple[str, int]
Result = Mapping[str, str]

TPMCL = 'configs/released/tpmcl_moving_shapes.py'
LOSS = 'model.partial_loss'


def ablation(name: str) -> str:
    """Path of one of the configs of the ablation."""
    return f'configs/ablation/{name}.py'


ROWS: dict[str, tuple[str, dict[str, object]]] = {
    'mean pooling, InfoNCE': ('configs/clip4clip_moving_shapes.py', {}),
    'sentence level': (ablation('token-wise_moving_shapes_sentence'), {}),
    'word level': (ablation('token-wise_moving_shapes_word'), {}),
    'sentence + word level': (ablation('dmae_moving_shapes_token-wise'), {}),
    '+ visual attention': (ablation('dmae_moving_shapes_info-nce'), {}),
    '+ NegNCE (DMAE)': ('configs/dmae_moving_shapes.py', {}),
    'DMAE, no visual attention': (
        ablation('dmae_moving_shapes_no-visual-attention'),
        {},
    ),
    'DMAE, no key words': (ablation('dmae_moving_shapes_no-key-words'), {}),
    'DMAE, learned weighting': (ablation('dmae_moving_shapes_learned'), {}),
    'DMAE, frame transformer': (
        ablation('dmae_moving_shapes_frame-transformer'),
        {},
    ),
    '+ TPM-CL, margin 0.1': (TPMCL, {}),
    '+ TPM-CL, margin 0.05': (TPMCL, {f'{LOSS}.margin': 0.05}),
    '+ TPM-CL, margin 0.2': (TPMCL, {f'{LOSS}.margin': 0.2}),
    '+ TPM-CL, margin 0.6': (TPMCL, {f'{LOSS}.margin': 0.6}),
    '+ TPM-CL, weight 0.1': (TPMCL, {f'{LOSS}.loss_weight': 0.1}),
    '+ TPM-CL, weight 0.3': (TPMCL, {f'{LOSS}.loss_weight': 0.3}),
    '+ TPM-CL, frames': (ablation('tpmcl_moving_shapes_frames'), {}),
    '+ TPM-CL, word global': (
        ablation('tpmcl_moving_shapes_word-global-frames'),
        {},
    ),
    '+ TPM-CL, words': (ablation('tpmcl_moving_shapes_words'), {}),
    '+ TPM-CL, frame global': (
        ablation('tpmcl_moving_shapes_frame-global'),
        {},
    ),
    '+ TPM-CL, released three': (
        ablation('tpmcl_moving_shapes_released'),
        {},
    ),
    '+ TPM-CL, min_removed 1': (
        ablation('tpmcl_moving_shapes_min-removed'),
        {},
    ),
    '+ TPM-CL, cosine importance': (
        ablation('tpmcl_moving_shapes_cosine-importance'),
        {},
    ),
    '+ TPM-CL, cosine, margin 0.3': (
        ablation('tpmcl_moving_shapes_cosine-importance'),
        {f'{LOSS}.margin': 0.3},
    ),
}


def train(
    run: Run, folder: Path, epochs: int, options: Sequence[str], threads: int
) -> dict[str, object]:
    """Train one row with one seed."""
    row, seed = run
    config, changes = ROWS[row]
    chosen = {
        'train_cfg.max_epochs': epochs,
        'train_cfg.val_interval': epochs,
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
    """Read what mmengine logged last."""
    last: dict[str, float] = {}
    newest = max(folder.glob('*/vis_data/scalars.json'))
    for line in newest.read_text(encoding='utf-8').splitlines():
        last.update(json.loads(line))
    metrics = {name: last[f'retrieval/{name}'] for name in METRICS}
    return metrics | {name: last[name] for name in STATS if name in last}


def read_results(path: Path) -> list[dict[str, str]]:
    """Read the runs that are done."""
    if not path.is_file():
        return []
    with path.open(newline='', encoding='utf-8') as file:
        return list(csv.DictReader(file))


def append_result(path: Path, result: Mapping[str, object]) -> None:
    """Add one run to the file."""
    is_new = not path.is_file()
    with path.open('a', newline='', encoding='utf-8') as file:
        writer = csv.DictWriter(file, COLUMNS)
        if is_new:
            writer.writeheader()
        writer.writerow(result)


def summarise(
    results: Sequence[Result], name: str
) -> Iterator[tuple[str, int, float, float]]:
    """Mean and spread of one metric over the seeds."""
    for row in ROWS:
        values = [float(run[name]) for run in results if run['row'] == row]
        if values:
            spread = stdev(values) if len(values) > 1 else 0.0
            yield row, len(values), mean(values), spread


def write_table(path: Path, results: Sequence[Result]) -> None:
    """Write the means and spreads as a Markdown table."""
    columns = [summarise(results, name) for name in ('R1', 'R5', 'v2t_R1')]
    lines = [
        '| row | seeds | t2v R@1 | t2v R@5 | v2t R@1 | removed share |',
        '|---|---|---|---|---|---|',
    ]
    for cells in zip(*columns, strict=True):
        row, seeds, _, _ = cells[0]
        numbers = ' | '.join(
            f'{centre:.1f} ± {spread:.1f}' for *_, centre, spread in cells
        )
        removed = removed_share(results, row)
        lines.append(f'| {row} | {seeds} | {numbers} | {removed} |')
    path.write_text('\n'.join(lines) + '\n', encoding='utf-8')


def removed_share(results: Sequence[Result], row: str) -> str:
    """Mean shares of frames and of words that TPM-CL removed at the end."""
    shares = []
    for name in ('removed_frames', 'removed_words'):
        values = [run[name] for run in results if run['row'] == row]
        known = [float(value) for value in values if value]
        shares.append(f'{mean(known):.3f}' if known else '-')
    return ' / '.join(shares)


def draw(path: Path, results: Sequence[Result]) -> None:
    """Plot both directions with one standard deviation."""
    rows = [row for row, *_ in summarise(results, 'R1')]
    figure = Figure(figsize=(8, 1 + 0.32 * len(rows)), layout='tight')
    axes = figure.subplots()
    for shift, name, label in (
        (-0.15, 'R1', 'text to video'),
        (0.15, 'v2t_R1', 'video to text'),
    ):
        table = list(summarise(results, name))
        axes.errorbar(
            [centre for *_, centre, _ in table],
            [place + shift for place in range(len(table))],
            xerr=[spread for *_, spread in table],
            fmt='o',
            capsize=3,
            label=label,
        )
    axes.set_yticks(range(len(rows)), rows)
    axes.invert_yaxis()
    axes.grid(axis='x', alpha=0.4)
    axes.set_xlabel('R@1 (%), mean and standard deviation over seeds')
    axes.legend(loc='lower left')
    figure.savefig(path, dpi=120)


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
        help='names of ROWS (default: all)',
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
    """Train what is not done, several runs at a time."""
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
