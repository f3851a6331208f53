"""What this process is doing, for the message that ends a failed run."""

import os
import time
from pathlib import Path

# Start, checkpoints and metrics may take this many times the timeout.
LONG = 4.0
STARTING = 'starting'
FILE_BYTES = 160


class Phase:
    """The last phase that the main thread has entered.

    Entering one is a few assignments, so it may be done in every iteration.

    Attributes:
        name: What the process is doing, as in 'rank 1 was ...'.
        step: Position in training, to see which rank is behind.
        limit: How many timeouts the phase may take.
        since: When it began, ``time.monotonic()``.
        path: A file that holds the name, empty if there is none.
    """

    def __init__(self) -> None:
        self.name, self.step, self.limit = STARTING, 0, LONG
        self.since = time.monotonic()
        self.path = ''
        self._file: int | None = None

    def enter(
        self, name: str, limit: float = 1.0, step: int | None = None
    ) -> None:
        """Enter a phase; without ``step`` the position stays."""
        self.name, self.limit = name, limit
        if step is not None:
            self.step = step
        self.since = time.monotonic()
        if self._file is not None:
            text = name.encode()[:FILE_BYTES].ljust(FILE_BYTES)
            os.pwrite(self._file, text, 0)

    def mirror(self, path: Path) -> None:
        """Write this and each later name to a file, which outlives us."""
        self.path = str(path)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        self.enter(self.name, self.limit)


phase = Phase()
