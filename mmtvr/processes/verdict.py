"""Who holds the others up: a pure function of what all report."""

from collections.abc import Sequence
from typing import NamedTuple

from mmtvr.processes.report import FAILED, RUNNING, Report

OTHERS_SHOWN = 3


class View(NamedTuple):
    """A process as another one sees it.

    Attributes:
        report: Its last report.
        silent: Seconds without a new report, on the clock of who looks.
    """

    report: Report
    silent: float

    @property
    def idle(self) -> float:
        """Seconds without progress."""
        return self.report.idle + self.silent


class Verdict(NamedTuple):
    """Why a run cannot go on.

    Attributes:
        culprits: The processes that died, failed or stalled.
        others: The other ones that run.
        finding: What happened to the culprits, without their names.
    """

    culprits: Sequence[View]
    others: Sequence[View]
    finding: str

    def __str__(self) -> str:
        names = ' and '.join(
            f'process {v.report.rank} (machine {v.report.machine}, pid '
            f'{v.report.pid})'
            for v in self.culprits
        )
        lines = [f'{names} {self.finding}'.strip()]
        lines += [_last_seen(view) for view in self.culprits]
        lines += [_last_seen(view) for view in self.others[:OTHERS_SHOWN]]
        return '\n'.join(lines)


def judge(
    views: Sequence[View], timeout: float, silence: float | None = None
) -> Verdict | None:
    """Find out whether the run goes on, and who is to blame if not.

    A process that waits for others is never to blame while one of them
    progresses, so a stall is one of all running processes; among them, those
    to blame do not wait for others, and are the furthest behind.

    Args:
        views: All processes.
        timeout: Seconds that a process may be silent or without progress,
            times the patience that it asked for.
        silence: Seconds after which a silent process counts as dead; if None,
            as ``timeout`` says. For those who know that something happened.

    Returns:
        The verdict, or None while all is well.
    """
    running = [view for view in views if view.report.state == RUNNING]
    failed = [view for view in views if view.report.state == FAILED]
    if failed:
        return Verdict(failed, running, f'failed: {failed[0].report.error}')
    gone = [
        view
        for view in running
        if view.silent > (silence or timeout * view.report.patience)
    ]
    if gone:
        seconds = max(view.silent for view in gone)
        return Verdict(
            gone,
            [view for view in running if view not in gone],
            f'gave no sign of life for {seconds:.0f} s',
        )
    if running and all(_is_overdue(view, timeout) for view in running):
        return _stall(running)
    return None


def _is_overdue(view: View, timeout: float) -> bool:
    return view.idle > timeout * view.report.patience


def _stall(running: Sequence[View]) -> Verdict:
    suspects = [v for v in running if not v.report.waiting] or running
    behind = min(view.report.step for view in suspects)
    culprits = [view for view in suspects if view.report.step == behind]
    seconds = min(view.idle for view in culprits)
    return Verdict(
        culprits,
        [view for view in running if view not in culprits],
        f'made no progress for {seconds:.0f} s',
    )


def _last_seen(view: View) -> str:
    report = view.report
    place = f', at {report.where}' if report.where else ''
    return f'  process {report.rank} was {report.doing}{place}'
