"""torchrun that says in one message which rank failed.

``python -m mmtvr.distributed.torchrun`` takes the arguments of torchrun
(2.13), which itself ends with two pages on its own stack, leaves its folder
of logs behind, and does not end the loading workers of a rank that died.
"""

import json
import logging
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from torch.distributed import DistError
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import (
    ChildFailedError,
    ProcessFailure,
)
from torch.distributed.run import parse_args, run

from mmtvr.distributed.failures import LAUNCHER, RESUME
from mmtvr.errors import first_line

# What all hosts take if none is given.
PORT = 29500


def main(arguments: Sequence[str] | None = None) -> int:
    """Start processes, and end all of them with the first that fails.

    Returns:
        0; 1 if a rank failed; 128 and the number of the signal that stopped
        the run.
    """
    # Seconds for a rank to end after SIGTERM; then it is killed.
    os.environ.setdefault('TORCH_ELASTIC_SHUTDOWN_TIMEOUT', '5')
    os.environ[LAUNCHER] = '1'
    # Each logger of torch.distributed.elastic has a level of its own.
    logging.disable(logging.ERROR)
    arguments = sys.argv[1:] if arguments is None else arguments
    with tempfile.TemporaryDirectory(prefix='mmtvr_') as folder:
        try:
            # Its main() would add two lines on the error file to our message.
            options = parse_args(['--log-dir', folder, *arguments])
            if not options.master_port:
                options.master_port = _choose_port(options.nnodes)
            run(options)
            return 0
        except ChildFailedError as error:
            for failure in error.failures.values():
                # torchrun makes each rank the leader of a group.
                with suppress(AttributeError, OSError):
                    os.killpg(failure.pid, signal.SIGKILL)
            message = describe(*error.get_first_failure(), Path(folder))
            message, status = f'error: {message}', 1
        except SignalException as error:
            message = f'stopped by {error.sigval.name}\n{RESUME}'
            status = 128 + int(error.sigval)
        except DistError as error:
            status = 1
            message = (
                f'error: the hosts do not meet: {first_line(error)} Each '
                'needs the same NNODES, MASTER_ADDR and PORT, and its own '
                'NODE_RANK'
            )
            if 'EADDRINUSE' in str(error):
                message = (
                    f'error: port {options.master_port} is taken: set PORT to '
                    'one that is free, or leave it out on one host, which '
                    'takes any'
                )
    print(message, file=sys.stderr)
    return status


def _choose_port(nnodes: str) -> int:
    """A free port for one host; several have to agree on one."""
    if str(nnodes) != '1':
        return PORT
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        return free.getsockname()[1]


def describe(rank: int, failure: ProcessFailure, folder: Path) -> str:
    """Return what a rank recorded, or how and in which phase one ended."""
    for path in folder.glob('*/*/*/error.json'):
        recorded = json.loads(path.read_text())['message']['message']
        return recorded.partition(': ')[2]
    end = f'ended with status {failure.exitcode}'
    if failure.exitcode < 0:
        end = f'was killed by {failure.signal_name()}'
    phases = [
        path.read_text().strip()
        for path in folder.glob(f'*/*/{failure.local_rank}/phase')
    ]
    return (
        f'rank {rank} (host {socket.gethostname()}, pid {failure.pid}) {end} '
        + (f'{phases[0]}\n{RESUME}' if phases else 'at its start')
    )


if __name__ == '__main__':
    sys.exit(main())
