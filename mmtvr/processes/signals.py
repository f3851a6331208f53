"""Signals that reach a thread although the main thread is busy."""

import contextlib
import os
import select
import signal
from typing import NoReturn

STOPPING = {signal.SIGINT, signal.SIGTERM}


class SignalPipe:
    """Tell a thread of SIGINT and SIGTERM at once.

    Python runs a handler when the main thread comes back to the interpreter,
    and a main thread that waits for a lost process never does. The bytes that
    the interpreter writes for each signal need no main thread. To the main
    thread SIGTERM is what SIGINT is, a ``KeyboardInterrupt``.

    Build it in the main thread.
    """

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.writer, False)
        signal.set_wakeup_fd(self.writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, _interrupt)
        # A signal to a loading worker is none to this process.
        os.register_at_fork(after_in_child=_forget)

    def wait(self, seconds: float) -> set[signal.Signals]:
        """Wait for signals.

        Args:
            seconds: How long at most.

        Returns:
            Those of SIGINT and SIGTERM that came.
        """
        ready, _, _ = select.select([self.reader], [], [], seconds)
        if not ready:
            return set()
        came = os.read(self.reader, 64)
        return {each for each in STOPPING if int(each) in came}

    def wake(self) -> None:
        """End a wait."""
        with contextlib.suppress(BlockingIOError):
            os.write(self.writer, b'\0')


def ignore_signals() -> None:
    """Let nothing more interrupt the main thread, which is ending.

    Signals still reach the thread. PyTorch makes an error of each loading
    worker that a launcher ends.
    """
    for name in ('SIGCHLD', 'SIGINT', 'SIGTERM'):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda number, frame: None)


def _interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _forget() -> None:
    with contextlib.suppress(ValueError):
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
