"""Time tasks in turn, measure memory, and report tables."""

import json
import multiprocessing
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.box import MARKDOWN
from rich.console import Console
from rich.table import Table


def time_in_turn(
    tasks: dict[str, Callable[[], object]], repeats: int
) -> dict[str, list[float]]:
    """Time tasks one after the other, again and again.

    Other work on the machine then slows all of them alike, and the ratio of
    two times of one round says more than that of two means.

    Args:
        tasks: Functions without arguments.
        repeats: Rounds after one that warms up.

    Returns:
        Seconds of each round by task.
    """
    for task in tasks.values():
        _time(task)
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(repeats):
        for name, task in tasks.items():
            seconds[name].append(_time(task))
    return seconds


def _time(task: Callable[[], object]) -> float:
    _wait_for_device()
    start = time.perf_counter()
    task()
    _wait_for_device()
    return time.perf_counter() - start


def _wait_for_device() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def ratio(of: Sequence[float], to: Sequence[float]) -> float:
    """Median of the ratios of two tasks timed in turn.

    Args:
        of: Seconds of one task.
        to: Seconds of the other, of the same rounds.

    Returns:
        How many times longer the first took.
    """
    return median(a / b for a, b in zip(of, to, strict=True))


def peak_megabytes(
    prepare: Callable[..., Callable[[], object]], *args: object
) -> float:
    """Memory that a task takes on top of what it was prepared with.

    Args:
        prepare: Makes the inputs and returns the task; importable by name,
            since the host's peak is measured in a process of its own.
        *args: Arguments of ``prepare``. If the last is a CUDA device, its
            memory is what counts.

    Returns:
        MiB, the results of the task included. That of the host is only known
        on Linux.
    """
    context = multiprocessing.get_context('spawn')
    with context.Pool(1) as pool:
        return pool.apply(_measure_peak, (prepare, args))


def _measure_peak(
    prepare: Callable[..., Callable[[], object]], args: Sequence[object]
) -> float:
    task = prepare(*args)
    device = torch.device(str(args[-1])) if args else torch.device('cpu')
    if device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        result = task()
        peak = torch.cuda.max_memory_allocated(device) - before
        del result
        return peak / 2**20
    # Forget the peak so far: that of the parent is inherited.
    Path('/proc/self/clear_refs').write_text('5')
    before = _host_peak()
    result = task()
    peak = _host_peak() - before
    del result
    return peak


def _host_peak() -> float:
    status = Path('/proc/self/status').read_text(encoding='ascii')
    return int(status.split('VmHWM:')[1].split()[0]) / 2**10


def describe_machine(device: str) -> dict[str, object]:
    """What the figures of a run depend on.

    Args:
        device: Name of the device that was measured.

    Returns:
        Processor, threads, device and versions.
    """
    machine: dict[str, object] = dict(
        processor=platform.processor() or platform.machine(),
        threads=torch.get_num_threads(),
        python=platform.python_version(),
        torch=torch.__version__,
        device=device,
    )
    if torch.device(device).type == 'cuda':
        machine['device'] = torch.cuda.get_device_name(device)
    return machine


def report(
    title: str,
    rows: Sequence[dict[str, Any]],
    device: str,
    out: Path | None = None,
) -> None:
    """Print a table in Markdown, and write it as JSON.

    Args:
        title: What was measured.
        rows: One dict per row, the same keys in each.
        device: Name of the device that was measured.
        out: Where to write the JSON, or None.
    """
    machine = describe_machine(device)
    table = Table(title=title, box=MARKDOWN)
    for column in rows[0]:
        table.add_column(column, justify='right')
    for row in rows:
        table.add_row(*(_show(value) for value in row.values()))
    console = Console(width=200)
    console.print(table)
    console.print(
        ', '.join(f'{key} {value}' for key, value in machine.items())
    )
    if out is not None:
        content = dict(title=title, machine=machine, rows=list(rows))
        out.write_text(json.dumps(content, indent=2) + '\n', encoding='utf-8')


def _show(value: Any) -> str:
    return f'{value:.3g}' if isinstance(value, float) else str(value)
