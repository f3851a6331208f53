"""How a command starts and ends: options, exit status, one message."""

import argparse
import gc
import os
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from threading import Timer
from typing import NoReturn

from mmtvr.cli.main import STOPPED
from mmtvr.distributed import launched_rank
from mmtvr.distributed.phase import STARTING, phase
from mmtvr.errors import (
    DENIED,
    FULL,
    OTHER_KIND,
    TOO_MANY_FILES,
    NonFiniteError,
    SetupError,
    find_errno,
    first_line,
    names_file,
)
from mmtvr.sanitize import for_terminal

# What builds components of a config, in mmengine.
BUILDERS = {'build_from_cfg': 'obj_type', 'build_dataloader': None}
# The launcher ends all processes when the first one fails.
SECONDS_FOR_LAUNCHER = 10
UNKNOWN_ARGUMENT = re.compile(
    r"class `(\w+)` in .* got an unexpected keyword argument '(\w+)'"
)
# Words of mmengine's registries.
UNKNOWN_TYPE = re.compile(r'(\S+) is not in the (\S+) registry')
# Until it is said what takes so long.
SECONDS_UNTIL_NOTE = 1.0
# In place of a checkpoint: the encoders as they were pretrained. It is that of
# mmtvr.checkpoints, which imports PyTorch.
PRETRAINED = 'none'
CHECKPOINT_HELP = (
    'a checkpoint, or the work folder of a run: its best checkpoint, else its '
    f'last (default: work_dirs/CONFIG); `{PRETRAINED}` for the pretrained '
    'encoders as they are'
)
TRUST_HELP = (
    'load a checkpoint that is more than weights. This runs code that the '
    'file contains, with all your rights: only for files whose origin you '
    'trust like that of a program'
)
RESUME = '--resume goes on from the last checkpoint'


def run_command(work: Callable[[], None], when_stopped: str = RESUME) -> int:
    """Run a command and turn its end into an exit status.

    Args:
        work: The command.
        when_stopped: What to say when it is stopped from the keyboard.

    Returns:
        0; 1 after a :class:`SetupError`, a :class:`NonFiniteError`, on a full
        disk or without the right to a file, with the message alone on stderr;
        130 when stopped from the keyboard. One of several processes does not
        return, it exits.
    """
    rank = launched_rank()
    if rank is not None:
        from mmtvr.distributed import failures
    try:
        work()
    except (KeyboardInterrupt, Exception) as error:
        error = _as_setup_error(error, when_stopped)
        text = None
        if isinstance(error, NonFiniteError | SetupError):
            # A worker of a loader adds its traceback to the text.
            name = f'{SetupError.__name__}: '
            text = for_terminal(str(error).rpartition(name)[2].strip())
        if rank is not None:
            failures.exit_failed(error, text)
        if rank and text:
            # All ranks may fail alike before they have met: the first prints
            # it, and the launcher ends the others meanwhile.
            time.sleep(SECONDS_FOR_LAUNCHER)
            text = f'rank {rank}: {text}'
        if text and rank is not None:
            failures.publish(text)
            return 1
        if text:
            print(f'error: {text}', file=sys.stderr, flush=True)
            return 1
        if isinstance(error, KeyboardInterrupt):
            if not rank:
                print(f'stopped; {when_stopped}', file=sys.stderr)
            return STOPPED
        raise
    if rank is not None:
        failures.exit_done()
    return 0


def _as_setup_error(error: BaseException, when_stopped: str) -> BaseException:
    """Make a message of what the user can fix, leave others as they are."""
    number = find_errno(error)
    why = first_line(error)
    if number in FULL:
        return SetupError(
            f'the disk is full: {why}. Make room; {when_stopped}'
        )
    if number in TOO_MANY_FILES or 'Too many open files' in why:
        return SetupError(
            f'too many files are open ({why[:200]}): raise the limit, '
            '`ulimit -n 65536` in the shell before the command, or use fewer '
            f'workers; {when_stopped}'
        )
    # mmengine names the class that it built from a config.
    unknown = UNKNOWN_ARGUMENT.search(why)
    if isinstance(error, TypeError) and unknown:
        return SetupError(
            f'{unknown[1]} of the config has no argument `{unknown[2]}`: is '
            'the key misspelt?'
        )
    missing = UNKNOWN_TYPE.search(why)
    if isinstance(error, KeyError) and missing:
        return SetupError(
            f'the config names a type {missing[1]}, which is no '
            f'{missing[2].rpartition(":")[2]}: is it misspelt? What you '
            'register yourself is found by custom_imports=dict(imports=[...])'
        )
    component = _find_component(error)
    if component:
        return SetupError(f'{component} of the config: {why}')
    # What was allowed at the start and no longer is, on one of several ranks,
    # is a fault of its host, and is reported with its traceback.
    several = int(os.environ.get('WORLD_SIZE', 1)) > 1
    under_way = several and phase.name != STARTING
    if number in DENIED and names_file(error) and not under_way:
        return SetupError(f'not allowed: {why}')
    if number in OTHER_KIND and names_file(error) and not under_way:
        return SetupError(
            f'a file is where a folder is needed, or the reverse: {why}. '
            'Give another path'
        )
    return error


def _find_component(error: BaseException) -> str | None:
    """Name the component of a config that does not take what it is given.

    Only where it says so itself, by a ``ValueError``, or cannot be called
    with such arguments; anything else is a fault of its code, and is reported
    with its traceback.
    """
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    built = [
        frame
        for frame in frames
        if frame.f_code.co_name in BUILDERS
        and frame.f_globals['__name__'].startswith('mmengine.')
    ]
    if not built or not (
        isinstance(error, ValueError)
        or (isinstance(error, TypeError) and built[-1] is frames[-1])
    ):
        return None
    local = BUILDERS[built[-1].f_code.co_name]
    kind = built[-1].f_locals.get(local) if local else 'a data loader'
    return kind if isinstance(kind, str) else getattr(kind, '__name__', None)


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Keeps a text of several lines as it is, and wraps that of one."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if '\n' in text.strip():
            return super()._fill_text(text, width, indent)
        plain = argparse.HelpFormatter
        return plain._fill_text(self, text, width, indent)


def parse_with_files(
    parser: argparse.ArgumentParser, argv: Sequence[str] | None
) -> argparse.Namespace:
    """Read arguments of which some are files, as YouTube's ids name them.

    A file whose name begins with ``-`` is taken for a file where there is one
    and no option of that name.

    Args:
        parser: Gets arguments and options in any order.
        argv: The arguments; those of the process if None.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    options = parser._option_string_actions
    unknown = [
        word
        for word in argv
        if len(word) > 1
        and word[0] == '-'
        and word.partition('=')[0] not in options
    ]
    files = {word for word in unknown if os.path.lexists(word)}
    argv = [
        os.path.join('.', word) if word in files else word for word in argv
    ]
    complain = parser.error
    others = [
        word
        for word in unknown
        if word not in files and not any(o.startswith(word) for o in options)
    ]

    def explain(message: str) -> NoReturn:
        if others:
            message += (
                f"; if {others[0]!r} is a file, write './{others[0]}' or "
                f"--OPTION='{others[0]}'"
            )
        complain(message)

    parser.error = explain
    # A list may stand behind options too.
    return parser.parse_intermixed_args(argv)


@contextmanager
def note_after_a_while(text: str) -> Iterator[None]:
    """Say on a terminal, once it has taken a second, what is going on."""
    if not sys.stderr.isatty():
        yield
        return
    timer = Timer(SECONDS_UNTIL_NOTE, print, [text], dict(file=sys.stderr))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def check_checkpoint(path: str | None) -> None:
    """Check a path of the command line before anything heavy is imported.

    Raises:
        SetupError: There is nothing.
    """
    if path not in (None, PRETRAINED) and not os.path.exists(path):
        raise SetupError(
            f'there is no checkpoint or work folder {path} (looked from '
            f'{os.getcwd()})'
        )


def choose_checkpoint(
    config: str, given: str | None, required: bool = True
) -> str | None:
    """Choose the weights of a model.

    Args:
        config: A config file, the name of a recipe, the work folder of a
            run, or the folder of a retriever.
        given: A checkpoint, a work folder or :data:`PRETRAINED`; None for
            the work folder of the config.
        required: Whether there must be such a folder where nothing is given.

    Returns:
        A checkpoint or a work folder. None for pretrained encoders, and for
        the folder of a retriever, which has its own.

    Raises:
        SetupError: The config was not trained here; says what to give.
    """
    from mmtvr.config import find_config, is_work_folder

    if given is not None:
        return None if given == PRETRAINED else given
    if is_work_folder(config):
        return config
    if os.path.isdir(config):
        return None
    config = find_config(config)
    folder = Path('work_dirs', Path(config).stem)
    if folder.is_dir():
        return str(folder)
    if not required:
        return None
    raise SetupError(
        f'{config} was not trained here: there is no {folder}. Train it '
        f'(`mmtvr train {quote(config)}`), give a checkpoint or the work '
        f'folder of its run, or `{PRETRAINED}` for the encoders as they were '
        'pretrained'
    )


@contextmanager
def gc_disabled() -> Iterator[None]:
    """Switch garbage collection off meanwhile.

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
        help='where the checkpoint of the index is now, if it has moved; '
        f'`{PRETRAINED}` where it was made without one',
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
