"""End what a process leaves behind: loading workers, decoders, siblings."""

import contextlib
import os
import signal
import socket

import psutil

from mmtvr.processes.report import Report


def end_descendants() -> None:
    """Kill all processes that this one started, and those that they did.

    A loading worker that hangs in a decoder does not notice that its parent
    has gone.
    """
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                child.kill()


def end_lost(report: Report) -> None:
    """Kill a process of this run that stopped answering, and its workers.

    Only what was started by the same launcher on this machine and leads a
    process group of its own, as torchrun makes them.

    Args:
        report: The last that the process told of itself.
    """
    here = report.machine == socket.gethostname() and report.pid != os.getpid()
    if not here or not report.leads_group or not hasattr(os, 'killpg'):
        return
    with contextlib.suppress(psutil.NoSuchProcess):
        if psutil.Process(report.pid).ppid() != os.getppid():
            return
    # Where the process itself is gone, its group may still hold its workers.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(report.pid, signal.SIGKILL)


def state_here(report: Report) -> str:
    """State of a process that stopped answering, where this machine knows it.

    Args:
        report: The last that the process told of itself.

    Returns:
        For example ``it is gone`` or ``it is stopped``; empty for another
        machine.
    """
    if report.machine != socket.gethostname():
        return ''
    try:
        return f'it is {psutil.Process(report.pid).status()}'
    except psutil.Error:
        return 'it is gone'
