"""What a run may leave behind: processes, and a port that is held."""

import socket

import psutil


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def listens(port: int) -> bool:
    """Whether a process listens on a port.

    Args:
        port: The port.
    """
    with socket.socket() as probe:
        return probe.connect_ex(('127.0.0.1', port)) == 0


def processes_of(mark: str) -> list[psutil.Process]:
    """All processes whose environment has the mark of a run.

    Args:
        mark: The mark.
    """
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get('MMTVR_FAULT_RUN') == mark:
                found.append(process)
        except psutil.Error:
            continue
    return found
