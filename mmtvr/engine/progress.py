"""Say in the log how far long work has come."""

import time

from mmengine.logging import print_log

from mmtvr.processes import LONG, activity


class Progress:
    """Log done, total and time left, not more often than every interval.

    Args:
        what: What is counted, in the plural: ``scored texts``.
        total: How many there are.
        interval: Seconds between two lines; short work logs none.
    """

    def __init__(self, what: str, total: int, interval: float = 10.0) -> None:
        self.what = what
        self.total = total
        self.interval = interval
        self.done = 0
        self.start = self.last = time.monotonic()

    def advance(self, count: int) -> None:
        """Count work as done.

        Args:
            count: How many more are done.
        """
        self.done += count
        activity.note(f'at {self.done} of {self.total} {self.what}', LONG)
        now = time.monotonic()
        if now - self.last < self.interval or self.done >= self.total:
            return
        self.last = now
        left = (now - self.start) / self.done * (self.total - self.done)
        print_log(
            f'{self.what}: {self.done} of {self.total}, {left:.0f} s left',
            'current',
        )
