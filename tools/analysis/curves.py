"""Draw how trainings went.

``python tools/analysis/curves.py WORK_DIR... --out curves.png`` reads what
mmengine logged in one or several work folders and draws, a panel each, the
losses, the recall in both directions, the logit scale, the hard negatives of
a row and the share of TPM-CL's margins that still pull. Runs lie over each
other in one panel; the parts of a resumed run are joined. A series that a run
does not have is left out, and named. ``--out`` may end in .png, .svg or .pdf
and may be given several times.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from curve_series import Run, read_run
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mmtvr.cli.command import run_command
from mmtvr.visualization.explanation import save_figure, show_text_as_written

COLUMNS, WIDTH, ROW = 3, 8.2, 2.2
# Apart by their dashes and marks in grey, by colours (Okabe and Ito) as well.
STYLES = (
    dict(color='#000000', linestyle='-', marker='o'),
    dict(color='#d55e00', linestyle='--', marker='s'),
    dict(color='#0072b2', linestyle='-.', marker='^'),
    dict(color='#7f7f7f', linestyle=':', marker='D'),
    dict(color='#56b4e9', linestyle=(0, (7, 2)), marker='v'),
    dict(color='#8c510a', linestyle=(0, (3, 1, 1, 1, 1, 1)), marker='x'),
)
MARKS = 8


class Panel(NamedTuple):
    """One series of all runs.

    Attributes:
        key: Its name in the log.
        title: What stands above it.
    """

    key: str
    title: str


GROUPS: dict[str, Callable[[str], bool]] = {
    'losses': lambda name: name.startswith('loss'),
    'recall': lambda name: name.removeprefix('v2t_') in ('R1', 'R5', 'R10'),
    'logit scale': lambda name: name == 'logit_scale',
    'hard negatives per row': lambda name: name == 'hard_negatives_per_row',
    'active margins': lambda name: name.startswith('active_'),
}


def choose_panels(runs: Sequence[Run]) -> tuple[list[Panel], list[str]]:
    """Choose what can be drawn.

    Args:
        runs: The runs.

    Returns:
        The panels, and a line for each series or group that is missing.
    """
    keys = list(dict.fromkeys(key for run in runs for key in run.series))
    panels, missing = [], []
    for group, belongs in GROUPS.items():
        chosen = [key for key in keys if belongs(key.rpartition('/')[2])]
        panels += [Panel(key, _title(group, key)) for key in chosen]
        if not chosen:
            missing.append(f'no run logged {group}')
    for run in runs:
        lacking = [each.key for each in panels if each.key not in run.series]
        if lacking:
            missing.append(f'{run.name} has no {", ".join(lacking)}')
    return panels, missing


def _title(group: str, key: str) -> str:
    name = key.rpartition('/')[2]
    if group == 'recall':
        way = 'video to text' if name.startswith('v2t_') else 'text to video'
        return f'R@{name.rpartition("R")[2]}, {way} (%)'
    if group == 'active margins':
        return f'active margins: {name.removeprefix("active_")}'
    return name if group == 'losses' else group


def draw_curves(runs: Sequence[Run]) -> tuple[Figure, list[str]]:
    """Draw runs over each other.

    Args:
        runs: At least one.

    Returns:
        The figure, and what is not in it.
    """
    panels, missing = choose_panels(runs)
    rows = -(-len(panels) // COLUMNS)
    head = 0.1 + 0.22 * -(-len(runs) // 2)
    foot = 0.35 + 0.16 * len(missing)
    height = head + rows * ROW + foot
    figure = Figure(figsize=(WIDTH, height))
    grid = figure.subplots(
        rows,
        COLUMNS,
        squeeze=False,
        sharex=True,
        gridspec_kw=_margins(head / height, foot / height),
    )
    for axes, panel in zip(grid.flat, panels, strict=False):
        _draw_panel(axes, panel, runs)
    for axes in grid.flat[len(panels) :]:
        axes.remove()
    _draw_legend(figure, runs)
    figure.text(*(0.02, 0.01, '\n'.join(missing)), fontsize=7.5, va='bottom')
    show_text_as_written(figure)
    return figure, missing


def _margins(head: float, foot: float) -> dict[str, float]:
    return dict(
        left=0.07,
        right=0.98,
        top=1 - head - 0.02,
        bottom=foot + 0.02,
        wspace=0.28,
        hspace=0.52,
    )


def _draw_panel(axes: Axes, panel: Panel, runs: Sequence[Run]) -> None:
    for number, run in enumerate(runs):
        points = np.array(run.series.get(panel.key, ())).reshape(-1, 2)
        axes.plot(
            *points.T,
            linewidth=1.3,
            markersize=4,
            markevery=max(1, len(points) // MARKS),
            **STYLES[number % len(STYLES)],
        )
    axes.set_title(panel.title, fontsize=9)
    axes.set_xlabel('iterations', fontsize=8, labelpad=1)
    axes.tick_params(labelsize=8, labelbottom=True)
    axes.grid(alpha=0.35)
    axes.margins(y=0.08)


def _draw_legend(figure: Figure, runs: Sequence[Run]) -> None:
    lines = [
        Line2D([], [], markersize=4, **STYLES[number % len(STYLES)])
        for number in range(len(runs))
    ]
    legend = figure.legend(
        lines,
        ['run'] * len(lines),
        loc='upper left',
        ncols=2,
        fontsize=9,
        frameon=False,
        handlelength=4,
    )
    # Set afterwards: a label that begins with _ would be left out.
    for text, run in zip(legend.get_texts(), runs, strict=True):
        text.set_text(run.name)


def name_runs(folders: Sequence[Path]) -> list[str]:
    """Name runs by their folders, by as many of them as it takes.

    Args:
        folders: Work folders.

    Returns:
        A name each, different for different folders.
    """
    parts = [folder.resolve().parts for folder in folders]
    distinct = len(set(parts))
    depth = 1
    while len({each[-depth:] for each in parts}) < distinct:
        depth += 1
    return ['/'.join(each[-depth:]) for each in parts]


def main() -> None:
    """Draw as the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('work_dirs', nargs='+', type=Path, metavar='WORK_DIR')
    parser.add_argument(
        '--out', type=Path, action='append', help='default: curves.png'
    )
    parser.add_argument(
        '--names', nargs='+', help='of the runs, in their order'
    )
    args = parser.parse_args()
    names = args.names or name_runs(args.work_dirs)
    if len(names) != len(args.work_dirs):
        parser.error('--names needs one name per WORK_DIR')
    runs = [
        read_run(folder, name)
        for folder, name in zip(args.work_dirs, names, strict=True)
    ]
    figure, missing = draw_curves(runs)
    for line in (*missing, *(n for run in runs for n in run.notes)):
        print(line)
    for out in args.out or [Path('curves.png')]:
        save_figure(figure, out)
        print(out)


if __name__ == '__main__':
    sys.exit(run_command(main, 'nothing was written'))
