"""How a command starts and ends: options, exit status, one message."""

import argparse
import gc
import logging
import multiprocessing
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from torch import distributed as dist

from mmtvr.apis.launch import launched_rank
from mmtvr.cli.main import STOPPED
from mmtvr.errors import (
    DENIED,
    FULL,
    NonFiniteError,
    SetupError,
    find_errno,
    names_file,
)
from mmtvr.processes import Watchdog, activity, current_watchdog
from mmtvr.processes.activity import STARTING
from mmtvr.processes.report import DONE
from mmtvr.processes.signals import ignore_signals
from mmtvr.sanitize import for_terminal

# The launcher ends all processes when the first one fails.
SECONDS_FOR_LAUNCHER = 10
SECONDS_FOR_SIGNAL = 0.2
RESUME = '--resume goes on from the last checkpoint'


def run_command(work: Callable[[], None], when_stopped: str = RESUME) -> int:
    """Run a command and turn its end into an exit status.

    Args:
        work: The command.
        when_stopped: What to say when it is stopped from the keyboard.

    Returns:
        0; 1 after a :class:`SetupError`, a :class:`NonFiniteError`, on a full
        disk or without the right to a file, with the message alone on stderr;
        130 when stopped from the keyboard. One of several processes that is
        done does not return, it ends.
    """
    try:
        work()
    except (KeyboardInterrupt, Exception) as error:
        error = _as_setup_error(error, when_stopped)
        if current_watchdog():
            _end_of_several(current_watchdog(), error)
        if isinstance(error, NonFiniteError | SetupError):
            _announce(error)
            return 1
        if isinstance(error, KeyboardInterrupt):
            if launched_rank() == 0:
                print(f'stopped; {when_stopped}', file=sys.stderr)
            return STOPPED
        raise
    if dist.is_initialized():
        dist.destroy_process_group()
        if current_watchdog():
            current_watchdog().finish(DONE)
        _end_process()
    return 0


def _as_setup_error(error: BaseException, when_stopped: str) -> BaseException:
    """Make a message of what the user can mend, leave others as they are."""
    number, why = find_errno(error), first_line(error)
    if number in FULL:
        return SetupError(
            f'the disk is full: {why}. Make room; {when_stopped}'
        )
    # What was allowed at the start and no longer is, in one of several
    # processes, is a fault of its machine: all is told of it.
    under_way = current_watchdog() and activity.doing != STARTING
    if number in DENIED and names_file(error) and not under_way:
        return SetupError(f'not allowed: {why}')
    return error


def _end_of_several(watchdog: Watchdog, error: BaseException) -> NoReturn:
    """End together with the other processes, and say why once."""
    try:
        ignore_signals()
    except (KeyboardInterrupt, RuntimeError):
        ignore_signals()
    # The thread sees a signal at once, if there was one. A launcher ends the
    # loading workers too, and PyTorch makes an error of that.
    time.sleep(SECONDS_FOR_SIGNAL)
    if isinstance(error, NonFiniteError | SetupError):
        _announce(error)
    if watchdog.signals or isinstance(error, KeyboardInterrupt):
        watchdog.stop()
        verdict = None
        if signal.SIGINT not in watchdog.signals:
            verdict = watchdog.explain()
        watchdog.end(*watchdog.last_words(verdict))
    if is_news_of_others(error):
        watchdog.stop()
        verdict = watchdog.explain()
        if verdict is not None:
            watchdog.end(*watchdog.last_words(verdict))
    _fail(watchdog, error)


def _fail(watchdog: Watchdog, error: BaseException) -> NoReturn:
    """End with an error of this process, and with its traceback."""
    traceback.print_exception(error)
    kind = f'{type(error).__name__}: {first_line(error)}'
    watchdog.fail(kind)
    message = (
        f'error: process {watchdog.rank} (machine {socket.gethostname()}) '
        f'failed {activity.doing}: {kind}; all processes were stopped'
    )
    watchdog.end(message, 1)


def is_news_of_others(error: BaseException) -> bool:
    """Whether an error may come from the loss of another process.

    Args:
        error: What was raised.

    Returns:
        True for errors of torch's process groups and stores.
    """
    text = str(error).lower()
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and ('gloo' in text or 'nccl' in text)
    )


def first_line(error: BaseException) -> str:
    """First line of the message of an error, empty if it has none.

    Args:
        error: The error.

    Returns:
        The line.
    """
    return next(iter(str(error).strip().splitlines()), '')


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


def _announce(error: Exception) -> None:
    """Print once for all processes, unless only this one has the error."""
    rank = launched_rank()
    if rank:
        time.sleep(SECONDS_FOR_LAUNCHER)
    where = f' (process {rank})' if rank else ''
    # From a worker of a loader it comes with the traceback in its text.
    message = str(error).rpartition(f'{SetupError.__name__}: ')[2].strip()
    text = f'error{where}: {for_terminal(message)}'
    if current_watchdog():
        current_watchdog().end(text, 1)
    print(text, file=sys.stderr, flush=True)


@contextmanager
def garbage_kept() -> Iterator[None]:
    """Collect no garbage meanwhile.

    Imports, configs and models are a million objects that stay. To look for
    garbage among them again and again is a tenth of the time to the first
    iteration.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def add_index(parser: argparse.ArgumentParser) -> None:
    """Add the index, and where its model is and computes.

    Args:
        parser: Gets the arguments.
    """
    parser.add_argument('index', help='folder or address of the index')
    parser.add_argument(
        '--checkpoint',
        help='where the checkpoint of the index is now, if it has moved',
    )
    add_device(parser)


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add where the model computes.

    Args:
        parser: Gets the argument.
    """
    parser.add_argument(
        '--device', help='cpu, cuda or cuda:1 (default: a GPU if there is one)'
    )


def at_least(least: int) -> Callable[[str], int]:
    """Make the ``type`` of an argument that counts something.

    Args:
        least: The smallest number that makes sense.

    Returns:
        Reads a whole number, and refuses a smaller one.
    """

    def read(text: str) -> int:
        number = int(text)
        if number < least:
            raise argparse.ArgumentTypeError(f'{number} is below {least}')
        return number

    # What argparse calls it where the text is no number.
    read.__name__ = 'whole number'
    return read
