"""Train variants over seeds and folds as a plan says, and compare them.

``python -m benchmarks.ablation.ablate PLAN tune|run|test|report`` goes on
where it was stopped; each training is ``tools/train.py`` in a process of its
own, and every result goes to ``runs.csv`` of ``--out`` as soon as it is there.

* ``tune`` trains each variant with each of its trials on one seed and keeps
  the best by the metric of the plan on the validation split.
* ``run`` trains every variant with every seed and fold, with its best trial,
  and evaluates on the validation split.
* ``test`` evaluates these checkpoints on the test split. The plan must be
  committed and unchanged, so that the comparisons were chosen before.
* ``report`` writes ``results.md``: means, and for each comparison the mean
  difference of runs with the same seed and fold, with a 95 % interval.

A plan is a JSON file:

* ``epochs``, ``seeds``, ``metrics`` (names as mmengine logs them, such as
  ``retrieval/R1``; ``deletion/METHOD`` asks for the deletion gap);
* ``datasets``: by name ``options`` of every run, ``test`` for those of the
  test split, ``folds`` (numbers; options may contain ``{fold}``);
* ``variants``: by name ``config`` (may contain ``{dataset}``), ``options``,
  and ``trials``, a list of options; all variants have as many trials;
  ``weights`` names another variant, whose weights it evaluates on the test
  split: it differs in the ranking alone, and is not trained;
* ``tuning``: ``seed`` and ``metric``;
* ``comparisons``: pairs of variants, the method first.
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
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parents[2]
KEYS = ('dataset', 'variant', 'trial', 'seed', 'fold', 'epochs', 'split')
RESAMPLES = 10_000
DELETION = 'deletion/'

Result = Mapping[str, str]


class Run(NamedTuple):
    """One training.

    Attributes:
        dataset: Name of the data set in the plan.
        variant: Name of the variant.
        trial: Number of its trial.
        seed: Seed of the training.
        fold: Number of the fold.
    """

    dataset: str
    variant: str
    trial: int
    seed: int
    fold: int


@dataclass
class Plan:
    """What is trained, tuned and compared; see the module."""

    path: Path
    content: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> 'Plan':
        """Read and check a plan.

        Raises:
            ValueError: Something is missing or does not fit; names it.
        """
        plan = cls(path, json.loads(path.read_text(encoding='utf-8')))
        content = plan.content
        absent = {'epochs', 'seeds', 'metrics', 'datasets', 'variants'} - set(
            content
        )
        if absent:
            raise ValueError(f'{path} lacks {sorted(absent)}')
        counts = {
            name: len(variant.get('trials', [{}]))
            for name, variant in content['variants'].items()
        }
        if len(set(counts.values())) > 1:
            raise ValueError(
                f'{path}: all variants must have as many trials, the same '
                f'tuning effort, but they have {counts}'
            )
        for name, variant in content['variants'].items():
            if variant.get('weights', name) not in counts:
                raise ValueError(
                    f'{path}: {name!r} takes the weights of '
                    f'{variant["weights"]!r}, which is no variant'
                )
        for pair in content.get('comparisons', []):
            unknown = set(pair) - set(counts)
            if unknown or len(pair) != 2:
                raise ValueError(
                    f'{path}: a comparison is of two variants, got {pair}'
                )
        return plan

    @property
    def metrics(self) -> list[str]:
        return self.content['metrics']

    @property
    def trials(self) -> int:
        first = next(iter(self.content['variants'].values()))
        return len(first.get('trials', [{}]))

    def source(self, variant: str) -> str:
        """The variant whose weights a variant evaluates, itself for most."""
        return self.content['variants'][variant].get('weights', variant)

    @property
    def trained(self) -> list[str]:
        return [v for v in self.content['variants'] if self.source(v) == v]

    def config(self, run: Run) -> str:
        config = self.content['variants'][run.variant]['config']
        return config.format(dataset=run.dataset)

    def options(self, run: Run, split: str) -> dict[str, Any]:
        """Settings of a run; evaluation is on the ``split``."""
        dataset = self.content['datasets'][run.dataset]
        variant = self.content['variants'][run.variant]
        trial = variant.get('trials', [{}])[run.trial]
        chosen = {
            **schedule(self.content['epochs']),
            **dataset.get('options', {}),
            **(dataset.get('test', {}) if split == 'test' else {}),
            **variant.get('options', {}),
            **trial,
        }
        return {
            key: value.format(fold=run.fold)
            if isinstance(value, str)
            else value
            for key, value in chosen.items()
        }

    def runs(self, selected: Mapping[str, int]) -> Iterator[Run]:
        """All runs of the best trials, seed by seed."""
        for seed in self.content['seeds']:
            for dataset, about in self.content['datasets'].items():
                for fold in about.get('folds', [0]):
                    for variant in self.content['variants']:
                        source = f'{dataset}/{self.source(variant)}'
                        trial = selected.get(source, 0)
                        yield Run(dataset, variant, trial, seed, fold)

    def tuning_runs(self) -> Iterator[Run]:
        """All trials of all variants, on one seed and fold."""
        seed = self.content.get('tuning', {}).get('seed', 0)
        for dataset, about in self.content['datasets'].items():
            fold = about.get('folds', [0])[0]
            for trial in range(self.trials):
                for variant in self.trained:
                    yield Run(dataset, variant, trial, seed, fold)

    def commit(self) -> str:
        """The commit that holds the plan.

        Raises:
            ValueError: The plan is not committed, or was changed since.
        """
        folder, name = self.path.resolve().parent, self.path.name

        def git(*arguments: str) -> subprocess.CompletedProcess:
            return subprocess.run(
                ['git', '-C', str(folder), *arguments],
                capture_output=True,
                text=True,
            )

        found = git('log', '-1', '--format=%h', '--', name).stdout.strip()
        changed = git('status', '--porcelain', '--', name).stdout.strip()
        if not found or changed:
            raise ValueError(
                f'{self.path} must be committed and unchanged before the '
                'test split is touched, so that its comparisons were chosen '
                'before: git commit it'
            )
        return found


def schedule(epochs: int) -> dict[str, Any]:
    """Settings that make every run as long, with its last weights kept."""
    return {
        'train_cfg.max_epochs': epochs,
        'train_cfg.val_interval': epochs,
        'default_hooks.checkpoint.interval': epochs,
        'default_hooks.checkpoint.max_keep_ckpts': 1,
        'default_hooks.checkpoint.save_best': None,
    }


def run_script(
    script: Sequence[str],
    options: Mapping[str, Any],
    log: Path,
    threads: int,
) -> None:
    """Run a script with settings; its output goes to ``log``.

    Raises:
        RuntimeError: It failed.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, *script, '--cfg-options']
    command += [f'{key}={value}' for key, value in options.items()]
    with log.open('w', encoding='utf-8') as file:
        done = subprocess.run(
            command,
            env={**os.environ, 'OMP_NUM_THREADS': str(threads)},
            cwd=ROOT,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    if done.returncode:
        raise RuntimeError(f'{script[0]} failed, see {log}')


def folder_of(out: Path, run: Run) -> Path:
    """Where a run keeps its log and its weights."""
    name = run.variant.replace(' ', '_').replace('/', '_')
    place = f'trial{run.trial}_seed{run.seed}_fold{run.fold}'
    return (out / run.dataset / name / place).resolve()


def train(plan: Plan, run: Run, out: Path, threads: int) -> dict[str, Any]:
    """Train one run, and evaluate it on the validation split."""
    folder, start = folder_of(out, run), time.monotonic()
    options = plan.options(run, 'val')
    run_script(
        [
            'tools/train.py',
            plan.config(run),
            *('--seed', str(run.seed)),
            *('--work-dir', str(folder)),
        ],
        options,
        folder / 'train.txt',
        threads,
    )
    found = read_scalars(folder)
    checkpoint = last_checkpoint(folder)
    found |= measure_deletion(
        plan, run, checkpoint, options, folder / 'deletion_val', threads
    )
    return describe(plan, run, 'val', found, time.monotonic() - start)


def test(plan: Plan, run: Run, out: Path, threads: int) -> dict[str, Any]:
    """Evaluate the weights of a run on the test split."""
    folder, start = folder_of(out, run), time.monotonic()
    weights = run._replace(variant=plan.source(run.variant))
    checkpoint = last_checkpoint(folder_of(out, weights))
    options = plan.options(run, 'test')
    run_script(
        [
            'tools/test.py',
            plan.config(run),
            str(checkpoint),
            *('--work-dir', str(folder / 'test')),
        ],
        options,
        folder / 'test.txt',
        threads,
    )
    # mmengine names the file of the metrics as its folder.
    logs = (folder / 'test').glob('*/*.json')
    path = max(path for path in logs if path.stem == path.parent.name)
    found = json.loads(path.read_text(encoding='utf-8'))
    found |= measure_deletion(
        plan, run, checkpoint, options, folder / 'deletion_test', threads
    )
    return describe(plan, run, 'test', found, time.monotonic() - start)


def measure_deletion(
    plan: Plan,
    run: Run,
    checkpoint: Path,
    options: Mapping[str, Any],
    result: Path,
    threads: int,
) -> dict[str, float]:
    """Deletion gaps of a run, if the plan asks for any."""
    if not any(name.startswith(DELETION) for name in plan.metrics):
        return {}
    split = result.name.removeprefix('deletion_')
    run_script(
        [
            *('-m', 'benchmarks.ablation.deletion_gap'),
            plan.config(run),
            str(checkpoint),
            *('--loader', f'{split}_dataloader'),
            *('--out', str(result.with_suffix('.json'))),
        ],
        options,
        result.with_suffix('.txt'),
        threads,
    )
    text = result.with_suffix('.json').read_text(encoding='utf-8')
    gaps = json.loads(text)
    return {f'{DELETION}{method}': gap for method, gap in gaps.items()}


def last_checkpoint(folder: Path) -> Path:
    """Weights of the last epoch.

    Raises:
        RuntimeError: The run was not trained.
    """
    path = folder / 'last_checkpoint'
    if not path.is_file():
        raise RuntimeError(f'{folder} has no weights: do the stage run first')
    return Path(path.read_text().strip())


def read_scalars(folder: Path) -> dict[str, float]:
    """Read what mmengine logged last."""
    last: dict[str, float] = {}
    newest = max(folder.glob('*/vis_data/scalars.json'))
    for line in newest.read_text(encoding='utf-8').splitlines():
        last.update(json.loads(line))
    return last


def describe(
    plan: Plan,
    run: Run,
    split: str,
    found: Mapping[str, float],
    seconds: float,
) -> dict[str, Any]:
    """A line of ``runs.csv``; what a variant does not have is empty.

    Raises:
        RuntimeError: The first metric of the plan was not logged.
    """
    first = plan.metrics[0]
    if first not in found:
        raise RuntimeError(f'{first} was not logged, there is {sorted(found)}')
    return {
        **run._asdict(),
        'epochs': plan.content['epochs'],
        'split': split,
        **{name: found.get(name, '') for name in plan.metrics},
        'seconds': round(seconds),
    }


def read_results(path: Path) -> list[dict[str, str]]:
    """Read the runs that are done."""
    if not path.is_file():
        return []
    with path.open(newline='', encoding='utf-8') as file:
        return list(csv.DictReader(file))


def append_result(path: Path, result: Mapping[str, Any]) -> None:
    """Add one run to the file."""
    is_new = not path.is_file()
    with path.open('a', newline='', encoding='utf-8') as file:
        writer = csv.DictWriter(file, list(result))
        if is_new:
            writer.writeheader()
        writer.writerow(result)


def is_done(
    results: Sequence[Result], plan: Plan, run: Run, split: str
) -> bool:
    """Whether a run is among the results."""
    wanted = {**run._asdict(), 'epochs': plan.content['epochs']}
    wanted['split'] = split
    return any(
        all(result[key] == str(wanted[key]) for key in KEYS)
        for result in results
    )


def select_trials(plan: Plan, results: Sequence[Result]) -> dict[str, int]:
    """The best trial of each variant by validation, the first of equals."""
    metric = plan.content.get('tuning', {}).get('metric', plan.metrics[0])
    best: dict[str, tuple[float, int]] = {}
    for run in plan.tuning_runs():
        for result in results:
            if is_done([result], plan, run, 'val'):
                name = f'{run.dataset}/{run.variant}'
                found = float(result[metric]), -run.trial
                best[name] = max(best.get(name, found), found)
    return {name: -trial for name, (_, trial) in best.items()}


def pairs_of(
    results: Sequence[Result], dataset: str, one: str, other: str, metric: str
) -> list[tuple[float, float]]:
    """Values of two variants with the same seed and fold."""
    values: dict[str, dict[tuple[str, str], float]] = {one: {}, other: {}}
    for result in results:
        known = result['variant'] in values and result['dataset'] == dataset
        if known and result.get(metric):
            place = result['seed'], result['fold']
            values[result['variant']][place] = float(result[metric])
    both = sorted(set(values[one]) & set(values[other]))
    return [(values[one][place], values[other][place]) for place in both]


def mean_difference(
    pairs: Sequence[tuple[float, float]],
) -> tuple[float, float, float]:
    """Mean difference of pairs with a 95 % bootstrap interval over them."""
    gaps = np.array([one - other for one, other in pairs])
    if len(gaps) < 2:
        return float(gaps.mean()), -np.inf, np.inf
    draws = np.random.default_rng(0).integers(
        len(gaps), size=(RESAMPLES, len(gaps))
    )
    low, high = np.percentile(gaps[draws].mean(1), [2.5, 97.5])
    return float(gaps.mean()), float(low), float(high)


def summarise(
    results: Sequence[Result], plan: Plan, dataset: str, metric: str
) -> Iterator[tuple[str, int, float, float]]:
    """Mean and spread of one metric over the seeds and folds."""
    for variant in plan.content['variants']:
        values = [
            float(run[metric])
            for run in results
            if (run['variant'], run['dataset']) == (variant, dataset)
            and run.get(metric)
        ]
        if values:
            spread = stdev(values) if len(values) > 1 else 0.0
            yield variant, len(values), mean(values), spread


def write_report(
    path: Path, plan: Plan, results: Sequence[Result], split: str
) -> None:
    """Write means, spreads and comparisons as Markdown tables."""
    lines = [f'{split} split, {plan.content["epochs"]} epochs']
    for dataset in plan.content['datasets']:
        columns = {
            metric: {
                variant: (count, f'{centre:.1f} ± {spread:.1f}')
                for variant, count, centre, spread in summarise(
                    results, plan, dataset, metric
                )
            }
            for metric in plan.metrics
        }
        lines += ['', f'### {dataset}', '']
        lines += _header(['variant', 'runs', *plan.metrics])
        for variant in plan.content['variants']:
            cells = [columns[m].get(variant, (0, '-')) for m in plan.metrics]
            runs = max(count for count, _ in cells)
            if runs:
                values = ' | '.join(text for _, text in cells)
                lines.append(f'| {variant} | {runs} | {values} |')
        comparisons = plan.content.get('comparisons', [])
        if not comparisons:
            continue
        lines += ['', 'Mean difference, paired by seed and fold:', '']
        lines += _header(['method', 'baseline', 'pairs', *plan.metrics])
        for one, other in comparisons:
            cells, count = [], 0
            for metric in plan.metrics:
                pairs = pairs_of(results, dataset, one, other, metric)
                count = max(count, len(pairs))
                cells.append(_difference(pairs))
            lines.append(
                f'| {one} | {other} | {count} | {" | ".join(cells)} |'
            )
    path.write_text('\n'.join(lines) + '\n', encoding='utf-8')


def _header(columns: Sequence[str]) -> list[str]:
    return [f'| {" | ".join(columns)} |', '|---' * len(columns) + '|']


def _difference(pairs: Sequence[tuple[float, float]]) -> str:
    if not pairs:
        return '-'
    gap, low, high = mean_difference(pairs)
    if not np.isfinite(low):
        return f'{gap:+.1f}'
    return f'{gap:+.1f} [{low:+.1f}, {high:+.1f}]'


def draw(
    path: Path, plan: Plan, results: Sequence[Result], dataset: str
) -> None:
    """Plot the first metrics of all variants with one standard deviation."""
    figure = Figure(
        figsize=(8, 1 + 0.32 * len(plan.content['variants'])), layout='tight'
    )
    axes = figure.subplots()
    names: list[str] = []
    for shift, metric in zip((-0.15, 0.15), plan.metrics, strict=False):
        table = list(summarise(results, plan, dataset, metric))
        names = names or [name for name, *_ in table]
        axes.errorbar(
            [centre for *_, centre, _ in table],
            [names.index(name) + shift for name, *_ in table],
            xerr=[spread for *_, spread in table],
            fmt='o',
            capsize=3,
            label=metric,
        )
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.grid(axis='x', alpha=0.4)
    axes.set_xlabel('mean and standard deviation over seeds')
    axes.legend(loc='lower left')
    figure.savefig(path, dpi=120)


def run_all(
    args: argparse.Namespace, plan: Plan, runs: Sequence[Run], split: str
) -> int:
    """Do what is not done, several runs at a time; counts failures."""
    path = args.out / 'runs.csv'
    results = read_results(path)
    left = [run for run in runs if not is_done(results, plan, run, split)]
    threads = max(1, (os.cpu_count() or 1) // args.jobs)
    work = test if split == 'test' else train
    failures = 0
    with ThreadPoolExecutor(args.jobs) as pool:
        futures = {
            pool.submit(work, plan, run, args.out, threads): run
            for run in left
        }
        for number, future in enumerate(as_completed(futures), 1):
            run = futures[future]
            what = ', '.join(f'{k} {v}' for k, v in run._asdict().items())
            try:
                result = future.result()
            except RuntimeError as error:
                failures += 1
                print(f'error: {what}: {error}', file=sys.stderr)
                continue
            append_result(path, result)
            first = plan.metrics[0]
            print(
                f'{number}/{len(futures)}  {what}: {first} '
                f'{float(result[first]):.2f}, {result["seconds"]} s',
                flush=True,
            )
    return failures


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('plan', type=Path)
    parser.add_argument('stage', choices=('tune', 'run', 'test', 'report'))
    parser.add_argument('--out', type=Path, default=Path('work_dirs/ablation'))
    parser.add_argument(
        '--variants', nargs='+', metavar='NAME', help='only some of the plan'
    )
    parser.add_argument(
        '--seeds', type=int, nargs='+', help='only some of the plan'
    )
    parser.add_argument(
        '--jobs', type=int, default=1, help='runs side by side'
    )
    return parser.parse_args()


def main() -> int:
    """Do one stage; the exit status is 1 if a run failed."""
    args = parse_args()
    try:
        plan = Plan.read(args.plan)
        commit = plan.commit() if args.stage == 'test' else ''
    except ValueError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    args.out.mkdir(parents=True, exist_ok=True)
    results = read_results(args.out / 'runs.csv')
    selected = select_trials(plan, results)
    untuned = plan.trials > 1 and len(selected) < len(plan.trained) * len(
        plan.content['datasets']
    )
    runs = list(
        plan.tuning_runs() if args.stage == 'tune' else plan.runs(selected)
    )
    runs = [
        run
        for run in runs
        if run.variant in (args.variants or [run.variant])
        and run.seed in (args.seeds or [run.seed])
    ]
    failures = 0
    if args.stage in ('run', 'test') and untuned:
        print('error: tune first, some trials are missing', file=sys.stderr)
        return 1
    if args.stage == 'test':
        print(f'the comparisons are those of commit {commit}')
    if args.stage != 'test':
        runs = [run for run in runs if run.variant in plan.trained]
    if args.stage != 'report':
        split = 'test' if args.stage == 'test' else 'val'
        failures = run_all(args, plan, runs, split)
    results = read_results(args.out / 'runs.csv')
    chosen = {run._replace(fold=0) for run in plan.runs(selected)}
    for split in ('val', 'test'):
        mine = [
            result
            for result in results
            if result['split'] == split
            and int(result['epochs']) == plan.content['epochs']
            and Run(
                result['dataset'],
                result['variant'],
                int(result['trial']),
                int(result['seed']),
                0,
            )
            in chosen
        ]
        if mine:
            path = args.out / f'results_{split}.md'
            write_report(path, plan, mine, split)
            for dataset in {result['dataset'] for result in mine}:
                name = f'results_{split}_{dataset}.png'
                draw(args.out / name, plan, mine, dataset)
            print(path.read_text(encoding='utf-8'))
    return 1 if failures else 0


if __name__ == '__main__':
    sys.exit(main())
