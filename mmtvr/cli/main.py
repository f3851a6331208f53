"""The command ``mmtvr``: its sub-commands, each imported when it is asked."""

import gc
import logging
import os
import signal
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import NoReturn

# 128 + SIGPIPE, the status of what the signal ends.
READER_GONE = 141
# 128 + SIGINT.
STOPPED = 130
# Of new objects, until Python looks for garbage among them. Imports and models
# make millions of objects that stay; to look for garbage at each 700th, as is
# the default, was a sixth of the time of a query.
NEW_OBJECTS_PER_COLLECTION = 100_000
# name: (module with main(argv) -> exit status, what it does)
COMMANDS = {
    'recipes': (
        'mmtvr.cli.recipes',
        'list the recipes: data, encoder, result',
    ),
    'prepare': ('mmtvr.cli.prepare', 'bring annotations into our layout'),
    'verify': (
        'mmtvr.cli.verify',
        'find missing and broken videos of a config',
    ),
    'browse': (
        'mmtvr.cli.browse_dataset',
        'plot samples as the model sees them',
    ),
    'cache': ('mmtvr.cli.cache', 'decode the videos of a config beforehand'),
    'extract': (
        'mmtvr.cli.extract',
        'compute features of frozen towers, to train from',
    ),
    'train': ('mmtvr.cli.train', 'train a model'),
    'test': ('mmtvr.cli.test', 'test a checkpoint'),
    'reproduce': (
        'mmtvr.cli.reproduce',
        'train and test, and compare with a cited number',
    ),
    'evaluate': ('mmtvr.cli.evaluate', 'evaluate the scores of any system'),
    'curves': ('mmtvr.cli.curves', 'plot the course of trainings'),
    'failures': ('mmtvr.cli.failures', 'show where a model fails, as a page'),
    'explain': ('mmtvr.cli.explain', 'plot why a text and a video score so'),
    'index': ('mmtvr.cli.index', 'make or update an index of videos'),
    'search': ('mmtvr.cli.search', 'find videos by text or video'),
    'serve': ('mmtvr.cli.serve', 'search an index in the browser'),
    'lora': ('mmtvr.cli.lora', 'take or merge the adapters of a checkpoint'),
    'export': ('mmtvr.cli.export', 'make a folder to hand over, ONNX'),
    'doctor': ('mmtvr.doctor', 'check what this machine can do'),
    'completion': (
        'mmtvr.cli.completion',
        'print what completes commands in a shell',
    ),
}
EXAMPLE = """
a first search, with the model and the videos that ship with mmtvr:
  mmtvr train tpmcl_moving_shapes
  mmtvr index tpmcl_moving_shapes data/moving_shapes/test/annotations.json \\
      --into work_dirs/shapes_index
  mmtvr search work_dirs/shapes_index \\
      "a red circle rising then a white circle falling"

CONFIG is a file or the name of a recipe. `mmtvr COMMAND --help` explains each
command, with examples.
"""


def describe() -> str:
    """Write the help text."""
    lines = [f'  {name:<10} {text}' for name, (_, text) in COMMANDS.items()]
    head = 'usage: mmtvr COMMAND ...\n\nText-video retrieval.\n\ncommands:\n'
    return head + '\n'.join(lines) + '\n' + EXAMPLE


def main(argv: Sequence[str] | None = None) -> int:
    """Run a sub-command.

    Args:
        argv: The command line without the program; that of the process if
            None. ``mmtvr search`` and ``serve`` then end the process itself.

    Returns:
        The exit status: 2 where the command is unknown, 130 when stopped
        from the keyboard, 141 where the reader of the output is gone, as with
        ``| head``.
    """
    if argv is None:
        gc.set_threshold(NEW_OBJECTS_PER_COLLECTION, *gc.get_threshold()[1:])
    try:
        status = _run(argv)
        sys.stdout.flush()
        if argv is None and sys.argv[1:2] in (['search'], ['serve']):
            _exit_now(status)
        return status
    except KeyboardInterrupt:
        # During the imports of a command, or once more while one ends.
        print('stopped', file=sys.stderr)
        return STOPPED
    except BrokenPipeError:
        if not _is_reader_gone():
            raise
        # What is still buffered must not fail once more at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return READER_GONE


def _exit_now(status: int) -> NoReturn:
    """End without freeing each object.

    It takes a quarter of the time of a query, and Python would wait for the
    threads of the page, which may wait for a decoder. Nothing of either is
    written when Python ends.
    """
    logging.shutdown()
    sys.stderr.flush()
    os._exit(status)


def _is_reader_gone() -> bool:
    """Distinguish a broken output from a pipe to another process."""
    try:
        # Without a buffer, nothing is left of what could not be written.
        print(flush=True)
    except BrokenPipeError:
        return True
    return False


def _run(argv: Sequence[str] | None) -> int:
    name, *rest = (sys.argv[1:] if argv is None else list(argv)) or ['--help']
    if name in ('-h', '--help'):
        print(describe())
        return 0
    if name in ('-V', '--version'):
        from mmtvr import __version__

        print(f'mmtvr {__version__}')
        return 0
    if name not in COMMANDS:
        close = get_close_matches(name, COMMANDS, n=1)
        guess = f'; did you mean {close[0]}?' if close else ''
        print(f'mmtvr: there is no command {name!r}{guess}\n', file=sys.stderr)
        print(describe(), file=sys.stderr)
        return 2
    status = import_module(COMMANDS[name][0]).main(rest)
    if status == STOPPED and argv is None:
        # A second Ctrl-C would interrupt what PyTorch does at the end.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    return status
