"""Ways to break one of two processes, and what must then be told."""

from typing import NamedTuple


class Fault(NamedTuple):
    """One way to break a run.

    Attributes:
        name: As ``process_faults.py`` knows it, or a signal to the launcher.
        message: What stderr must say, a regular expression.
        waits: Whether it shows only by the time-out.
    """

    name: str
    message: str
    waits: bool = False


NAMED = r'process 1 \(machine \S+, pid \d+\) '
FAULTS = (
    Fault('kill', NAMED + 'gave no sign of life'),
    Fault('exit', NAMED + 'gave no sign of life'),
    Fault('exception', r'process 1 \(.*\) failed .*ValueError: a made-up'),
    Fault('term', 'process 1 was stopped by SIGTERM'),
    Fault('stop', NAMED + 'gave no sign of life', waits=True),
    Fault('loop', NAMED + 'made no progress', waits=True),
    Fault('sleep', NAMED + 'made no progress', waits=True),
    Fault('locked-loop', NAMED + 'gave no sign of life', waits=True),
    Fault('blocked-loader', NAMED + 'made no progress', waits=True),
    Fault('killed-loader', r'process 1 \(.*\) failed .*RuntimeError'),
    Fault('val-kill', NAMED + 'gave no sign of life'),
    Fault('val-stop', NAMED + 'gave no sign of life', waits=True),
    Fault('launcher-INT', 'stopped by SIGINT'),
    Fault('launcher-TERM', 'stopped by SIGTERM'),
    Fault('launcher-KILL', 'the launcher of the processes has died'),
)
