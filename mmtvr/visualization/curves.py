"""Curves of training runs, read from the logs of their work folders."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mmtvr.errors import SetupError
from mmtvr.visualization.figures import show_text_as_written

Point = tuple[int, float]
COUNTERS = ('epoch', 'iter', 'step')


@dataclass
class Run:
    """A run, its resumed parts joined.

    Attributes:
        name: What it is called in the plot.
        series: From the name of a number to its points (iteration, value),
            in the order of iterations.
        notes: What was left out or joined.
    """

    name: str
    series: dict[str, list[Point]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class Start(NamedTuple):
    """What one start of a run logged.

    Attributes:
        iteration: The first that was logged.
        epoch: Its epoch; None if the run does not count them.
        series: See :class:`Run`.
        epochs: Epoch of each logged iteration.
    """

    iteration: int
    epoch: int | None
    series: dict[str, list[Point]]
    epochs: dict[int, int]


def read_run(folder: Path, name: str) -> Run:
    """Read what mmengine logged of a run.

    A work folder holds a folder for each start. A later start takes the place
    of what an earlier one logged from its first iteration on: resumed parts
    are joined, and a run that started over replaces the earlier one.

    Args:
        folder: A work folder, or the folder of one start.
        name: What to call it.

    Returns:
        The run.

    Raises:
        SetupError: There is no log of a training in the folder.
    """
    run, epochs = Run(name), dict[int, int]()
    for log in find_logs(folder):
        start = _read_start(log, run.notes)
        if not start.series:
            continue
        label = log.parents[1].name
        if run.series:
            earlier = min(points[0][0] for points in run.series.values())
            how = 'resumed' if start.iteration > earlier else 'started over'
            run.notes.append(f'{label} {how} at iteration {start.iteration}')
        _drop(run, start, epochs)
        epochs.update(start.epochs)
        for key, points in start.series.items():
            run.series.setdefault(key, []).extend(points)
    if not run.series:
        raise SetupError(
            f'{folder} has no log of a training: looked for '
            '*/vis_data/scalars.json, which mmengine writes with '
            "vis_backends=[dict(type='LocalVisBackend')]"
        )
    return run


def _drop(run: Run, start: Start, epochs: dict[int, int]) -> None:
    """Drop what a later start trained again.

    It goes on at the beginning of an epoch, before what it logs first.
    """

    def stays(iteration: int) -> bool:
        if start.epoch is not None and iteration in epochs:
            return epochs[iteration] < start.epoch
        return iteration < start.iteration

    for key, points in list(run.series.items()):
        kept = [point for point in points if stays(point[0])]
        run.series[key] = kept
        if not kept:
            del run.series[key]


def find_logs(folder: Path) -> list[Path]:
    """Find the logs of all starts, the first start first.

    One file per start: ``scalars.json``, or what mmengine writes beside it if
    that is gone.
    """
    found = {}
    for pattern in ('vis_data/*.json', '*/vis_data/*.json'):
        for path in sorted(folder.glob(pattern)):
            if path.name == 'scalars.json' or path.parent not in found:
                found[path.parent] = path
    return [found[parent] for parent in sorted(found)]


def _read_start(path: Path, notes: list[str]) -> Start:
    """Read one start; without series for a test."""
    start = Start(0, None, {}, {})
    last = None
    for record in _records(path, notes):
        # Validations count epochs; they come behind their last iteration.
        last = record.get('iter', last)
        if last is None:
            continue
        if not start.series:
            epoch = record.get('epoch')
            start = start._replace(iteration=last, epoch=epoch)
        if 'epoch' in record:
            start.epochs[last] = record['epoch']
        for key, value in record.items():
            if key not in COUNTERS and isinstance(value, int | float):
                start.series.setdefault(key, []).append((last, value))
    return start


def _records(path: Path, notes: list[str]) -> Iterator[dict]:
    broken = 0
    with path.open(encoding='utf-8', errors='replace') as lines:
        for line in lines:
            try:
                record = json.loads(line)
            except ValueError:
                broken += 1
                continue
            if isinstance(record, dict):
                yield record
    if broken:
        notes.append(f'{path}: {broken} lines are not JSON and were skipped')


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
MAX_MARKS = 8


class Panel(NamedTuple):
    """One series of all runs.

    Attributes:
        key: Its name in the log.
        title: Its title.
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
        margin = name.removeprefix('active_').replace('_', ' ')
        return f'active margins: {margin}'
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
            markevery=max(1, len(points) // MAX_MARKS),
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
    """Name runs by their last folders, by as many as make names differ."""
    parts = [folder.resolve().parts for folder in folders]
    distinct = len(set(parts))
    depth = 1
    while len({each[-depth:] for each in parts}) < distinct:
        depth += 1
    return ['/'.join(each[-depth:]) for each in parts]
