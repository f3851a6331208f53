"""The numbers of a training run, out of the logs of its work folder."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from mmtvr.errors import SetupError

Point = tuple[int, float]
ALONE = ('epoch', 'iter', 'step')


@dataclass
class Run:
    """A run, its resumed parts joined.

    Attributes:
        name: What it is called in the picture.
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
    are joined, and a run that began anew replaces the earlier one.

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
            how = 'resumed' if start.iteration > earlier else 'began anew'
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

    Args:
        folder: A work folder, or the folder of one start.

    Returns:
        One file per start: ``scalars.json``, or what mmengine writes beside
        it if that is gone.
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
            if key not in ALONE and isinstance(value, int | float):
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
        notes.append(f'{path}: {broken} lines are no JSON and were left out')
