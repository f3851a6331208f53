"""How a command ends: one message for what the user must mend."""

import logging
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from typing import NoReturn

from torch import distributed as dist

from mmtvr.apis.launch import launched_rank
from mmtvr.atomic_file import FULL
from mmtvr.errors import SetupError
from mmtvr.foreign_text import for_terminal

# The launcher ends all processes when the first one fails.
SECONDS_FOR_LAUNCHER = 10
STOPPED = 130
RESUME = '--resume goes on from the last checkpoint'


def run_command(work: Callable[[], None], when_stopped: str = RESUME) -> int:
    """Run a command and turn its end into an exit status.

    Args:
        work: The command.
        when_stopped: What to say when it is stopped from the keyboard.

    Returns:
        0; 1 after a :class:`SetupError` or on a full disk, with the message
        alone on stderr;
        130 when stopped from the keyboard. One of several processes that is
        done does not return, it ends.
    """
    try:
        work()
    except SetupError as error:
        _announce(error)
        return 1
    except OSError as error:
        if error.errno not in FULL:
            raise
        full = f'the disk is full: {error}. Make room; then {when_stopped}'
        _announce(SetupError(full))
        return 1
    except KeyboardInterrupt:
        if launched_rank() == 0:
            print(f'stopped; {when_stopped}', file=sys.stderr)
        return STOPPED
    if dist.is_initialized():
        dist.destroy_process_group()
        _end_process()
    return 0


def _end_process() -> NoReturn:
    """End without the interpreter's own end.

    Threads of gloo outlive ``destroy_process_group``. One that lets go of a
    tensor while the interpreter ends aborts the process, and the launcher
    then takes a finished run for a failed one.
    """
    for worker in multiprocessing.active_children():
        worker.terminate()
        worker.join()
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _announce(error: SetupError) -> None:
    """Print once for all processes, unless only this one has the error."""
    rank = launched_rank()
    if rank:
        time.sleep(SECONDS_FOR_LAUNCHER)
    where = f' (process {rank})' if rank else ''
    # From a worker of a loader it comes with the traceback in its text.
    message = str(error).rpartition(f'{SetupError.__name__}: ')[2].strip()
    print(
        f'error{where}: {for_terminal(message)}', file=sys.stderr, flush=True
    )
