"""A thread per process that notices when another one died or stalled."""

import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from typing import NoReturn

from mmtvr.processes.activity import activity
from mmtvr.processes.board import Board
from mmtvr.processes.cleanup import end_descendants, end_lost, state_here
from mmtvr.processes.report import FAILED, RUNNING, STOPPED, report_of
from mmtvr.processes.signals import SignalPipe
from mmtvr.processes.verdict import Verdict, View, judge

# Time that the main thread has to end by itself after a signal.
GRACE = 5.0
# A process without this many seconds of reports is dead to who knows that
# something happened.
SILENCE = 3.0
GO_ON = '--resume goes on from the last checkpoint'

_current: list['Watchdog'] = []


def current_watchdog() -> 'Watchdog | None':
    """The watchdog of this process, None where there is one process."""
    return _current[-1] if _current else None


class Watchdog(threading.Thread):
    """Report on this process, read what the others report, end the run.

    A process whose main thread waits for a lost one inside of a collective
    cannot say anything; this thread names the culprit, kills what the process
    has started, and ends it.

    Args:
        board: The board, on a connection of its own.
        rank: Rank of this process.
        timeout: Seconds that any process may be silent or without progress.
        holder: Rank of the process that keeps the board, None where the
            launcher does.
        launcher_pid: The parent, where the run ends with it; else None.
    """

    def __init__(
        self,
        board: Board,
        rank: int,
        timeout: float,
        holder: int | None,
        launcher_pid: int | None = None,
    ) -> None:
        super().__init__(name='mmtvr-watchdog', daemon=True)
        self.board = board
        self.rank = rank
        self.timeout = timeout
        self.holder = holder
        self.launcher_pid = launcher_pid
        self.beat_seconds = min(1.0, timeout / 10)
        self.beat = 0
        self.state, self.error = RUNNING, ''
        self.views: Sequence[View] = ()
        self.seen: dict[int, tuple[int, float]] = {}
        self.lost_since: float | None = None
        self.signals: set[signal.Signals] = set()
        self.deadline: float | None = None
        self.ending = threading.Lock()
        self.finished = threading.Event()
        self.pipe: SignalPipe | None = None

    def post(self) -> None:
        """Publish the next report of this process."""
        self.beat += 1
        self.board.post(
            report_of(self.rank, self.beat, activity, self.state, self.error)
        )

    def start(self) -> None:
        """Start to watch; all processes have posted a report."""
        self.pipe = SignalPipe()
        activity.hurry = self.pipe.wake
        _current.append(self)
        super().start()

    def run(self) -> None:
        """Report and look, until the process ends."""
        while not self.finished.is_set():
            self._look()
            came = self.pipe.wait(self.beat_seconds)
            self.signals |= came
            if came and self.deadline is None:
                self.deadline = time.monotonic() + GRACE

    def explain(self) -> Verdict | None:
        """Find out which process is behind an error or a signal.

        Called by the main thread; takes seconds, as silence shows with time.

        Returns:
            The verdict, None if the other processes are well or stopped too.
        """
        deadline = time.monotonic() + SILENCE + 3 * self.beat_seconds
        while time.monotonic() < deadline:
            verdict = self._verdict(SILENCE)
            others = [v for v in self.views if v.report.rank != self.rank]
            if verdict or all(v.report.state != RUNNING for v in others):
                return verdict
            time.sleep(self.beat_seconds / 2)
        return None

    def finish(self, state: str) -> None:
        """Say that this process is done, or was stopped, and watch no more.

        Args:
            state: The last state.
        """
        self.state = state
        self.finished.set()
        self.join(SILENCE)
        if self.lost_since is None:
            try:
                self.post()
            except Exception:
                self.lost_since = time.monotonic()

    def fail(self, error: str) -> None:
        """Let the others know that this process fails.

        Args:
            error: With what.
        """
        self.error, self.state = error, FAILED

    def stop(self) -> None:
        """Let the others know that this process was told to stop."""
        self.state = STOPPED

    def end(
        self, message: str | None, status: int, lost: Sequence[View] = ()
    ) -> NoReturn:
        """End this process, and with it what it started.

        Args:
            message: Printed to stderr unless another process has printed
                one.
            status: Exit status.
            lost: Processes that stopped answering; those on this machine are
                killed.
        """
        self.ending.acquire()
        if message and self._is_first(message):
            print(message, file=sys.stderr, flush=True)
        for view in lost:
            end_lost(view.report)
        end_descendants()
        sys.stdout.flush()
        os._exit(status)

    def _look(self) -> None:
        if self.launcher_pid and os.getppid() != self.launcher_pid:
            # The board has gone with it, so that no process knows which was
            # the first to say it.
            first = os.environ.get('LOCAL_RANK') == '0'
            message = 'error: the launcher of the processes has died'
            self.end(message if first else None, 1)
        try:
            self.post()
            if self.board.has_ended():
                self.end(None, 1)
            now = time.monotonic()
            reports = self.board.read()
        except Exception:
            self.lost_since = self.lost_since or time.monotonic()
        else:
            for report in reports:
                if self.seen.get(report.rank, (0, 0.0))[0] != report.beat:
                    self.seen[report.rank] = report.beat, now
            self.views = [View(r, now - self.seen[r.rank][1]) for r in reports]
        verdict = self._verdict()
        if verdict is None and self.deadline is not None:
            if time.monotonic() < self.deadline:
                return
            self.stop()
            self.end(*self.last_words(self._verdict(SILENCE)))
        if verdict is not None and self.state == RUNNING:
            self.end(*self.last_words(verdict))

    def last_words(
        self, verdict: Verdict | None
    ) -> tuple[str, int, Sequence[View]]:
        """What :meth:`end` needs.

        Args:
            verdict: Why the run ends, None for a signal.

        Returns:
            Message, exit status and lost processes.
        """
        if verdict is None:
            name = 'SIGINT' if signal.SIGINT in self.signals else 'SIGTERM'
            status = 128 + int(signal.Signals[name])
            others = [v for v in self.views if v.report.rank != self.rank]
            # A launcher stops all of them; who stops one means that one.
            alone = name == 'SIGTERM' and any(
                view.report.state == RUNNING for view in others
            )
            who = f'process {self.rank} was ' if alone else ''
            return f'{who}stopped by {name}; {GO_ON}', status, ()
        lost = [view for view in verdict.culprits if view.silent > SILENCE]
        states = {v.report.rank: state_here(v.report) for v in lost}
        known = [f'process {rank}: {s}' for rank, s in states.items() if s]
        lines = [f'error: {verdict}', *(f'  {line}' for line in known)]
        lines.append(f'  all processes were stopped; {GO_ON}')
        return '\n'.join(lines), 1, lost

    def _verdict(self, silence: float | None = None) -> Verdict | None:
        if self.lost_since is None:
            return judge(self.views, self.timeout, silence)
        seconds = time.monotonic() - self.lost_since
        limit = self.timeout * activity.patience
        if seconds < (silence or limit):
            return None
        finding = f'no longer answers, for {seconds:.0f} s'
        if self.holder is None:
            return Verdict((), (), f'the launcher {finding}')
        holders = [v for v in self.views if v.report.rank == self.holder]
        return Verdict(holders, (), finding)

    def _is_first(self, message: str) -> bool:
        if self.lost_since is not None:
            return True
        try:
            return self.board.announce_end(message)
        except Exception:
            return True
