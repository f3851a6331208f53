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


NAMED = r'rank 1 \(host \S+, pid \d+\) '
IN_STEP = ' in the training step of iteration 3'
HUNG = (
    NAMED + r'(gave no sign of life|made no progress) for \d+ s\n  rank 1 was'
)
FAULTS = (
    Fault('kill', NAMED + 'was killed by SIGKILL' + IN_STEP),
    Fault('exit', NAMED + 'ended with status 3' + IN_STEP),
    Fault('exception', NAMED + f'failed{IN_STEP}: ValueError: a made-up'),
    Fault('term', NAMED + 'was killed by SIGTERM' + IN_STEP),
    Fault('stop', HUNG + IN_STEP, waits=True),
    Fault('loop', HUNG + IN_STEP, waits=True),
    Fault('sleep', HUNG + IN_STEP, waits=True),
    Fault('locked-loop', HUNG + IN_STEP, waits=True),
    Fault('blocked-loader', HUNG + ' behind iteration', waits=True),
    Fault('killed-loader', NAMED + 'failed .*RuntimeError'),
    Fault('val-kill', NAMED + 'was killed by SIGKILL .* of a validation'),
    Fault('val-stop', HUNG + '.* of a validation', waits=True),
    Fault('launcher-INT', 'stopped by SIGINT'),
    Fault('launcher-TERM', 'stopped by SIGTERM'),
    Fault('launcher-KILL', 'the launcher has died'),
)
