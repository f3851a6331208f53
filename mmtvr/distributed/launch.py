"""Start several processes on GPUs (nccl) or on CPUs (gloo) alike.

The process group is opened here, before the runner, which then finds it open:
mmengine's own start (0.11) selects a GPU whatever the backend, and its
default DDP wrapper names one too.
"""

import os
import socket
import subprocess
from datetime import timedelta
from pathlib import Path

import psutil
import torch
from mmengine.config import Config
from torch import distributed as dist
from torch.distributed.rendezvous import rendezvous

from mmtvr.distributed import VARIABLES
from mmtvr.distributed.failures import Monitor
from mmtvr.distributed.phase import LONG, phase
from mmtvr.errors import SetupError, first_line

# Seconds without progress after which a run of several processes is stopped.
TIMEOUT = 600.0
STARTED_BY = {
    'pytorch': 'tools/dist_train.sh CONFIG N (torchrun)',
    'slurm': 'tools/slurm_train.sh PARTITION JOB CONFIG (srun)',
    'mpi': 'mpirun',
}


def prepare_launch(cfg: Config, launcher: str) -> None:
    """Make a config ready for the launcher that started this process.

    Args:
        cfg: Changed in place: ``launcher``, hooks and, without a GPU, the
            backend and the DDP wrapper of several processes.
        launcher: One of ``mmtvr.distributed.LAUNCHERS``.

    Raises:
        SetupError: The launcher did not start this process, the machine has
            fewer GPUs than processes, or other processes do not come.
    """
    cfg.launcher = launcher
    _add_hook(cfg, 'mmtvr.LoadingWorkersHook')
    _add_hook(cfg, 'mmtvr.RunSummaryHook')
    if launcher == 'none':
        if not torch.cuda.is_available():
            leave_cores_to_workers(cfg)
        return
    missing = [name for name in VARIABLES[launcher] if name not in os.environ]
    if missing:
        raise SetupError(
            f'--launcher {launcher} but {", ".join(missing)} not set: start '
            f'it by {STARTED_BY[launcher]}, or leave --launcher out for one '
            'process'
        )
    dist_cfg = (cfg.get('env_cfg') or {}).get('dist_cfg') or {}
    _set_variables(launcher, dist_cfg.get('port', 29500))
    if torch.cuda.is_available():
        local_rank = int(os.environ['LOCAL_RANK'])
        check_gpus(local_rank)
        torch.cuda.set_device(local_rank)
        backend = dist_cfg.get('backend', 'nccl')
    else:
        backend = 'gloo'
        _wrap_for_cpu(cfg)
    if not dist.is_initialized():
        timeout = check_timeout(dist_cfg.get('timeout', TIMEOUT))
        open_process_group(backend, timeout)
    _add_hook(cfg, 'mmtvr.ActivityHook')


def open_process_group(backend: str, timeout: float) -> None:
    """Meet the other processes, watch over them, and open a process group.

    Args:
        backend: ``gloo`` or ``nccl``.
        timeout: Seconds that any process may be late, silent or without
            progress. Collectives wait longer, so that the monitor, which
            knows the phases, has the first word.

    Raises:
        SetupError: Processes do not come within the timeout.
    """
    seconds = timedelta(seconds=timeout)
    address = os.environ['MASTER_ADDR'], int(os.environ['MASTER_PORT'])
    _choose_gloo_interface(address[0])
    try:
        store, rank, world_size = next(rendezvous('env://', timeout=seconds))
        own_store = dist.TCPStore(
            *address, timeout=seconds, wait_for_workers=False
        )
    except dist.DistError as error:
        raise SetupError(
            f'rank {os.environ["RANK"]} finds no other process at '
            f'{address[0]}:{address[1]} within {timeout:g} s: '
            f'{first_line(error)}'
        ) from error
    own_store.set_timeout(timedelta(seconds=min(10.0, timeout)))
    under_torchrun = 'TORCHELASTIC_RUN_ID' in os.environ
    if 'TORCHELASTIC_ERROR_FILE' in os.environ:
        error_file = Path(os.environ['TORCHELASTIC_ERROR_FILE'])
        phase.mirror(error_file.with_name('phase'))
    launcher = os.getppid() if under_torchrun else None
    Monitor(own_store, rank, world_size, timeout, launcher).start()
    dist.init_process_group(
        backend,
        store=dist.PrefixStore('group', store),
        rank=rank,
        world_size=world_size,
        timeout=seconds * (LONG + 1),
    )


def leave_cores_to_workers(cfg: Config) -> None:
    """On the CPU, compute on the cores that the loading workers leave.

    Threads that share a core with a worker wait for one another: on two cores
    with two workers, one thread trains faster than two. ``OMP_NUM_THREADS``,
    where set, has the last word.
    """
    if 'OMP_NUM_THREADS' in os.environ:
        return
    loaders = ('train_dataloader', 'test_dataloader')
    workers = max(
        (cfg.get(name) or {}).get('num_workers', 0) for name in loaders
    )
    torch.set_num_threads(max(1, torch.get_num_threads() - workers))


def check_gpus(local_rank: int) -> None:
    """Check that this process has a GPU of its own."""
    count = torch.cuda.device_count()
    if local_rank >= count:
        raise SetupError(
            f'process {local_rank} of this machine has no GPU, there are '
            f'only {count}: start fewer processes, or set '
            'CUDA_VISIBLE_DEVICES= to run on the CPU'
        )


def check_timeout(timeout: object) -> float:
    """Check the timeout of several processes; returns seconds."""
    is_number = isinstance(timeout, int | float) and timeout is not True
    if not is_number or not timeout > 0:
        raise SetupError(
            f'env_cfg.dist_cfg.timeout={timeout!r} must be seconds, more '
            'than 0: the time without progress after which the processes stop'
        )
    return float(timeout)


def _add_hook(cfg: Config, name: str) -> None:
    hooks = list(cfg.get('custom_hooks') or [])
    cfg.custom_hooks = [*hooks, dict(type=name)]


def _set_variables(launcher: str, port: int) -> None:
    """Set the variables that torch reads to what the launcher says."""
    names = zip(VARIABLES['pytorch'], VARIABLES[launcher], strict=True)
    for ours, theirs in names:
        os.environ[ours] = os.environ[theirs]
    nodes = os.environ.get('SLURM_NODELIST')
    if 'MASTER_ADDR' not in os.environ:
        first = '127.0.0.1'
        if launcher == 'slurm' and nodes:
            first = subprocess.run(
                ['scontrol', 'show', 'hostnames', nodes],
                capture_output=True,
                text=True,
                check=True,
            ).stdout.split()[0]
        os.environ['MASTER_ADDR'] = first
    os.environ.setdefault('MASTER_PORT', str(port))


def _choose_gloo_interface(address: str) -> None:
    """Let gloo use the network interface that leads to the first host.

    By itself it takes the one that the name of this host resolves to, which
    is often the loopback interface, where no other host can reach it.
    """
    if 'GLOO_SOCKET_IFNAME' in os.environ:
        return
    family, kind, *_, target = socket.getaddrinfo(
        address, 9, type=socket.SOCK_DGRAM
    )[0]
    with socket.socket(family, kind) as probe:
        # Sends nothing, but chooses the address that packets would come from.
        probe.connect(target)
        own = probe.getsockname()[0]
    for name, addresses in psutil.net_if_addrs().items():
        if any(each.address.partition('%')[0] == own for each in addresses):
            os.environ['GLOO_SOCKET_IFNAME'] = name


def _wrap_for_cpu(cfg: Config) -> None:
    cfg.merge_from_dict({'env_cfg.dist_cfg.backend': 'gloo'})
    cfg.model_wrapper_cfg = {
        'type': 'MMDistributedDataParallel',
        'broadcast_buffers': False,
        'find_unused_parameters': cfg.get('find_unused_parameters', False),
        **(cfg.get('model_wrapper_cfg') or {}),
        'device_ids': None,
    }
