"""Open the process group of a launched process, and watch over all."""

import os
import time
from datetime import timedelta

from torch import distributed as dist
from torch.distributed.rendezvous import rendezvous

from mmtvr.errors import SetupError
from mmtvr.processes import LONG, Board, Watchdog

# Seconds without progress after which a run of several processes is stopped.
TIMEOUT = 600.0


def open_process_group(backend: str, timeout: float) -> dist.Store:
    """Meet the other processes, watch over them, and open a process group.

    The environment variables of torchrun say who and where this process is.

    Args:
        backend: ``gloo`` or ``nccl``.
        timeout: Seconds that any process may be late, silent or without
            progress. Collectives wait longer, so that the watchdog has the
            first word.

    Returns:
        A store that all processes share.

    Raises:
        SetupError: Processes do not come within the time-out.
    """
    seconds = timedelta(seconds=timeout)
    try:
        store, rank, world_size = next(rendezvous('env://', timeout=seconds))
    except dist.DistError as error:
        raise SetupError(
            f'process {os.environ["RANK"]} finds no other process at '
            f'{os.environ["MASTER_ADDR"]}:{os.environ["MASTER_PORT"]} within '
            f'{timeout:g} s: {str(error).splitlines()[0]}'
        ) from error
    watchdog = Watchdog(
        Board(_own_connection(seconds), rank, world_size, min(10.0, timeout)),
        rank,
        timeout,
        holder=None if _under_torchrun() else 0,
        launcher_pid=os.getppid() if _under_torchrun() else None,
    )
    watchdog.post()
    wait_for_all(watchdog.board, timeout)
    watchdog.start()
    dist.init_process_group(
        backend,
        store=dist.PrefixStore('group', store),
        rank=rank,
        world_size=world_size,
        timeout=seconds * (LONG + 1),
    )
    return store


def wait_for_all(board: Board, timeout: float) -> None:
    """Wait for the first report of every process.

    Args:
        board: Where they report.
        timeout: Seconds.

    Raises:
        SetupError: Some did not come; names them.
    """
    deadline = time.monotonic() + timeout
    missing = board.missing()
    while missing:
        if time.monotonic() > deadline:
            raise SetupError(
                f'{len(missing)} of {board.world_size} processes did not '
                f'start within {timeout:g} s (env_cfg.dist_cfg.timeout): '
                f'process {", ".join(map(str, missing))}'
            )
        time.sleep(0.05)
        missing = board.missing()


def _own_connection(timeout: timedelta) -> dist.TCPStore:
    return dist.TCPStore(
        os.environ['MASTER_ADDR'],
        int(os.environ['MASTER_PORT']),
        is_master=False,
        timeout=timeout,
        wait_for_workers=False,
    )


def _under_torchrun() -> bool:
    return os.environ.get('TORCHELASTIC_USE_AGENT_STORE') == str(True)
