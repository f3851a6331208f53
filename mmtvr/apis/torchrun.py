"""torchrun with a short end, as ``python -m mmtvr.apis.torchrun``."""

import logging
import os
import signal
import sys
from collections.abc import Sequence

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main as torchrun

# A process that does not end by itself when told to is killed after this time.
SHUTDOWN_SECONDS = 10


def main(arguments: Sequence[str] | None = None) -> int:
    """Start processes, and name the first that failed in one line.

    torchrun itself ends with two pages on its own stack.

    Args:
        arguments: Those of torchrun; ``sys.argv`` if None.

    Returns:
        0; 1 if a process failed; 128 and the number of the signal that
        stopped them.
    """
    os.environ.setdefault(
        'TORCH_ELASTIC_SHUTDOWN_TIMEOUT', str(SHUTDOWN_SECONDS)
    )
    logging.getLogger('torch.distributed.elastic').setLevel(logging.CRITICAL)
    try:
        torchrun(arguments)
    except ChildFailedError as error:
        end_workers(error)
        rank, failure = error.get_first_failure()
        print(
            f'launcher: process {rank} {how_it_ended(failure.exitcode)}',
            file=sys.stderr,
        )
        return 1
    except SignalException as error:
        print(f'launcher: stopped by {error.sigval.name}', file=sys.stderr)
        return 128 + int(error.sigval)
    return 0


def how_it_ended(status: int) -> str:
    """Put the exit status of a process into words.

    Args:
        status: Negative for a signal.

    Returns:
        For example ``was killed by SIGKILL``.
    """
    if status < 0:
        return f'was killed by {signal.Signals(-status).name}'
    return f'ended with status {status}'


def end_workers(error: ChildFailedError) -> None:
    """Kill the loading workers of processes that died without ending them.

    torchrun makes each process the leader of a group and does not look after
    the group of a dead one.

    Args:
        error: Names the processes that failed.
    """
    for failure in error.failures.values():
        try:
            os.killpg(failure.pid, signal.SIGKILL)
        except (AttributeError, ProcessLookupError, PermissionError):
            continue


if __name__ == '__main__':
    sys.exit(main())
