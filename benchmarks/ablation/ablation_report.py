"""Results of the ablation: one line per run, a table and a plot."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev

from matplotlib.figure import Figure

from benchmarks.ablation.ablation_rows import ROWS

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

Result = Mapping[str, str]


def read_results(path: Path) -> list[dict[str, str]]:
    """Read the runs that are done.

    Args:
        path: ``runs.csv``; it need not be there.

    Returns:
        One dict per run.
    """
    if not path.is_file():
        return []
    with path.open(newline='', encoding='utf-8') as file:
        return list(csv.DictReader(file))


def append_result(path: Path, result: Mapping[str, object]) -> None:
    """Add one run to the file.

    Args:
        path: ``runs.csv``.
        result: Values by column.
    """
    is_new = not path.is_file()
    with path.open('a', newline='', encoding='utf-8') as file:
        writer = csv.DictWriter(file, COLUMNS)
        if is_new:
            writer.writeheader()
        writer.writerow(result)


def summarise(
    results: Sequence[Result], name: str
) -> Iterator[tuple[str, int, float, float]]:
    """Mean and spread of one metric over the seeds.

    Args:
        results: The runs.
        name: One of ``METRICS``.

    Yields:
        Row, number of seeds, mean and sample deviation (0 for one seed).
    """
    for row in ROWS:
        values = [float(run[name]) for run in results if run['row'] == row]
        if values:
            spread = stdev(values) if len(values) > 1 else 0.0
            yield row, len(values), mean(values), spread


def write_table(path: Path, results: Sequence[Result]) -> None:
    """Write the means and spreads as a Markdown table.

    Args:
        path: The file.
        results: The runs.
    """
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
    """Mean shares of frames and of words that TPM-CL removed at the end.

    Args:
        results: The runs.
        row: Name of a row.

    Returns:
        Two shares, ``-`` where there is none.
    """
    shares = []
    for name in ('removed_frames', 'removed_words'):
        values = [run[name] for run in results if run['row'] == row]
        known = [float(value) for value in values if value]
        shares.append(f'{mean(known):.3f}' if known else '-')
    return ' / '.join(shares)


def draw(path: Path, results: Sequence[Result]) -> None:
    """Plot both directions with one standard deviation.

    Args:
        path: The picture.
        results: The runs.
    """
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
