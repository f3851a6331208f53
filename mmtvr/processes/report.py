"""What a process tells the others about itself."""

import dataclasses
import json
import os
import socket
import sys
import threading
import time
from pathlib import Path
from types import FrameType

from mmtvr.processes.activity import Activity

RUNNING, DONE, FAILED, STOPPED = 'running', 'done', 'failed', 'stopped'
FRAMES_SHOWN = 3
# Where the main thread stands while it waits for other processes. The sums of
# gradients are waited for inside of backward.
WAITING_PLACES = (
    'torch/distributed/',
    'torch/autograd/graph.py',
    'mmtvr/distributed/gather.py',
)


@dataclasses.dataclass(frozen=True)
class Report:
    """One process as it sees itself.

    Attributes:
        rank: Its rank.
        machine: Name of its machine.
        pid: Its process id there.
        leads_group: Whether its process group is its own, as under torchrun.
        beat: Counts up with every report.
        state: ``running``, ``done``, ``failed`` or ``stopped``.
        doing: What it is doing.
        step: Position in training.
        patience: How many time-outs that may take.
        idle: Seconds since it noted progress.
        where: Innermost places of its main thread, file, line and function.
        waiting: Whether that is a place where it waits for others.
        error: What it failed with.
    """

    rank: int
    machine: str
    pid: int
    leads_group: bool
    beat: int = 0
    state: str = RUNNING
    doing: str = 'starting'
    step: int = 0
    patience: float = 1.0
    idle: float = 0.0
    where: str = ''
    waiting: bool = False
    error: str = ''

    def to_json(self) -> str:
        """Return the report as JSON."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> 'Report':
        """Read what :meth:`to_json` wrote.

        Args:
            text: JSON.

        Returns:
            The report.
        """
        return cls(**json.loads(text))


def report_of(
    rank: int, beat: int, activity: Activity, state: str, error: str = ''
) -> Report:
    """Report on this process.

    Args:
        rank: Its rank.
        beat: Number of the report.
        activity: What its main thread noted.
        state: Its state.
        error: What it failed with.

    Returns:
        The report.
    """
    where, waiting = main_thread_place()
    return Report(
        rank=rank,
        machine=socket.gethostname(),
        pid=os.getpid(),
        leads_group=hasattr(os, 'getpgrp') and os.getpgrp() == os.getpid(),
        beat=beat,
        state=state,
        doing=activity.doing,
        step=activity.step,
        patience=activity.patience,
        idle=time.monotonic() - activity.since,
        where=where,
        waiting=waiting,
        error=error,
    )


def main_thread_place() -> tuple[str, bool]:
    """Where the main thread stands.

    Returns:
        The innermost places, and whether it waits there for other processes.
    """
    main = threading.main_thread().ident
    frame: FrameType | None = sys._current_frames().get(main)
    if frame is None:
        return '', False
    path = Path(frame.f_code.co_filename).as_posix()
    waiting = any(place in path for place in WAITING_PLACES)
    places = []
    while frame is not None and len(places) < FRAMES_SHOWN:
        code = frame.f_code
        file = '/'.join(Path(code.co_filename).parts[-2:])
        places.append(f'{file}:{frame.f_lineno} {code.co_name}')
        frame = frame.f_back
    return ' < '.join(places), waiting
