"""What this process is doing, noted where it goes on to something else."""

import time
from collections.abc import Callable

# Work without steps in between, such as start, checkpoints and metrics, may
# take this many times the time-out.
LONG = 4.0
STARTING = 'starting'


class Activity:
    """The last note of the main thread, read by its watchdog.

    A note is three assignments, so one may be made in every iteration.

    Attributes:
        doing: What the process is doing.
        step: Position in training, the same on every process that is at the
            same place.
        patience: How many time-outs this may take.
        since: Time of the note, ``time.monotonic()``.
        hurry: Called when the patience changes, so that the others, who judge
            by it, know at once.
    """

    def __init__(self) -> None:
        self.doing = STARTING
        self.step = 0
        self.patience = LONG
        self.since = time.monotonic()
        self.hurry: Callable[[], None] = lambda: None

    def note(
        self, doing: str, patience: float = 1.0, step: int | None = None
    ) -> None:
        """Note progress.

        Args:
            doing: What comes now, as in 'process 1 was ...': 'in the training
                step of iteration 7'.
            patience: How many time-outs it may take.
            step: Position in training; if None it stays.
        """
        changed = patience != self.patience
        self.doing = doing
        self.patience = patience
        if step is not None:
            self.step = step
        self.since = time.monotonic()
        if changed:
            self.hurry()


activity = Activity()
