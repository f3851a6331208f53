"""How far indexing is, for other processes: a small file in the index."""

import json
import os
import socket
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from mmtvr.files import write_atomically

NAME = '.progress.json'
SECONDS_BETWEEN = 1.0


@dataclass
class Progress:
    """One pass of indexing.

    Attributes:
        total: Files that are to be looked at: new ones and changed ones.
        done: How many of them were.
        failed: How many of these could not be read.
        started: When it began, in seconds since 1970.
        updated: When this was true.
        pid: Of the process.
        host: Its machine.
    """

    total: int = 0
    done: int = 0
    failed: int = 0
    started: float = 0.0
    updated: float = 0.0
    pid: int = 0
    host: str = ''

    @property
    def is_running(self) -> bool:
        """Whether its process is there; elsewhere, whether it wrote lately."""
        if self.host != socket.gethostname():
            return time.time() - self.updated < 60 * SECONDS_BETWEEN
        return psutil.pid_exists(self.pid)


class ProgressFile:
    """Writes :class:`Progress` into the folder of an index, while it is made.

    Of an index in an engine only the process itself knows it.

    Args:
        url: The index.
    """

    def __init__(self, url: str) -> None:
        self.now = Progress()
        self._path = None if '://' in url or ':' in url else Path(url, NAME)
        self._written = 0.0

    def begin(self, total: int) -> None:
        """Say how many files there are."""
        self.now = Progress(
            total=total,
            started=time.time(),
            pid=os.getpid(),
            host=socket.gethostname(),
        )
        self._write()

    def add(self, failed: bool) -> None:
        """Count a file."""
        self.now.done += 1
        self.now.failed += failed
        if time.monotonic() - self._written > SECONDS_BETWEEN:
            self._write()

    def end(self) -> None:
        """Remove the file: all of it was done, or why not was said."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _write(self) -> None:
        self._written = time.monotonic()
        self.now.updated = time.time()
        if self._path is not None and self._path.parent.is_dir():
            write_atomically(self._path, json.dumps(asdict(self.now)))


def read_progress(url: str) -> Progress | None:
    """How far a process is that indexes into a folder, or was when it died.

    Returns:
        None where the last one came to its end, or nothing is known.
    """
    try:
        return Progress(**json.loads(Path(url, NAME).read_text('utf-8')))
    except (OSError, ValueError, TypeError):
        return None
