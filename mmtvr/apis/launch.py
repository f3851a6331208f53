"""Start several processes on GPUs (nccl) or on CPUs (gloo) alike.

The process group is opened here, before the runner, which then finds it open:
mmengine's own start selects a GPU whatever the backend, and watches over
nothing. Its default DDP wrapper names a GPU too.
"""

import os
import subprocess

import torch
from mmengine.config import Config
from torch import distributed as dist

from mmtvr.apis.process_group import TIMEOUT, open_process_group
from mmtvr.apis.same_start import check_same_start
from mmtvr.errors import SetupError

# What each launcher calls rank, number of processes and rank on this machine.
VARIABLES = {
    'pytorch': ('RANK', 'WORLD_SIZE', 'LOCAL_RANK'),
    'slurm': ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID'),
    'mpi': (
        'OMPI_COMM_WORLD_RANK',
        'OMPI_COMM_WORLD_SIZE',
        'OMPI_COMM_WORLD_LOCAL_RANK',
    ),
}
LAUNCHERS = ('none', *VARIABLES)
STARTED_BY = {
    'pytorch': 'tools/dist_train.sh CONFIG N (torchrun)',
    'slurm': 'tools/slurm_train.sh PARTITION JOB CONFIG (srun)',
    'mpi': 'mpirun',
}


def launched_rank() -> int:
    """Rank of this process as its launcher says, before any set-up.

    Returns:
        The rank, 0 without a launcher.
    """
    for rank, _, _ in VARIABLES.values():
        if rank in os.environ:
            return int(os.environ[rank])
    return 0


def prepare_launch(cfg: Config, launcher: str) -> None:
    """Make a config ready for the launcher that started this process.

    Args:
        cfg: Changed in place: ``launcher``, hooks and, without a GPU, the
            backend and the DDP wrapper of several processes.
        launcher: One of ``LAUNCHERS``.

    Raises:
        SetupError: The launcher did not start this process, or the machine
            has fewer GPUs than processes.
    """
    cfg.launcher = launcher
    add_hook(cfg, 'mmtvr.LoadingWorkersHook')
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
    follow_launcher(cfg, launcher)
    local_rank = int(os.environ['LOCAL_RANK'])
    if torch.cuda.is_available():
        check_gpus(local_rank)
        torch.cuda.set_device(local_rank)
        backend = dist_cfg_of(cfg).get('backend', 'nccl')
    else:
        backend = 'gloo'
        wrap_for_cpu(cfg)
    if not dist.is_initialized():
        timeout = dist_cfg_of(cfg).get('timeout', TIMEOUT)
        store = open_process_group(backend, check_timeout(timeout))
        check_same_start(cfg, store, timeout)
    add_hook(cfg, 'mmtvr.ActivityHook')


def add_hook(cfg: Config, name: str) -> None:
    """Add a hook that every run has.

    Args:
        cfg: Changed in place.
        name: The type of the hook.
    """
    hooks = list(cfg.get('custom_hooks') or [])
    cfg.custom_hooks = [*hooks, dict(type=name)]


def leave_cores_to_workers(cfg: Config) -> None:
    """On the CPU, compute on the cores that the loading workers leave.

    Threads that share a core with a worker wait for one another: on two cores
    with two workers, one thread trains faster than two.

    Args:
        cfg: Read only. ``OMP_NUM_THREADS``, where set, has the last word.
    """
    if 'OMP_NUM_THREADS' in os.environ:
        return
    loaders = ('train_dataloader', 'test_dataloader')
    workers = max(
        (cfg.get(name) or {}).get('num_workers', 0) for name in loaders
    )
    torch.set_num_threads(max(1, torch.get_num_threads() - workers))


def check_gpus(local_rank: int) -> None:
    """Check that this process has a GPU of its own.

    Args:
        local_rank: Number of this process on its machine.

    Raises:
        SetupError: There are fewer GPUs than processes.
    """
    count = torch.cuda.device_count()
    if local_rank >= count:
        raise SetupError(
            f'process {local_rank} of this machine has no GPU, there are '
            f'only {count}: start fewer processes, or set '
            'CUDA_VISIBLE_DEVICES= to run on the CPU'
        )


def dist_cfg_of(cfg: Config) -> dict:
    """Settings of the process group.

    Args:
        cfg: The config.

    Returns:
        ``env_cfg.dist_cfg``, empty if it has none.
    """
    return (cfg.get('env_cfg') or {}).get('dist_cfg') or {}


def check_timeout(timeout: object) -> float:
    """Check the time-out of several processes.

    Args:
        timeout: What the config says.

    Returns:
        Seconds.

    Raises:
        SetupError: It is no positive number.
    """
    is_number = isinstance(timeout, int | float) and timeout is not True
    if not is_number or not timeout > 0:
        raise SetupError(
            f'env_cfg.dist_cfg.timeout={timeout!r} must be seconds, more '
            'than 0: the time without progress after which the processes stop'
        )
    return float(timeout)


def follow_launcher(cfg: Config, launcher: str) -> None:
    """Set the variables that torch reads to what the launcher says.

    Args:
        cfg: Read for ``env_cfg.dist_cfg.port``, as mmengine does.
        launcher: Who started this process.
    """
    names = zip(VARIABLES['pytorch'], VARIABLES[launcher], strict=True)
    for ours, theirs in names:
        os.environ[ours] = os.environ[theirs]
    if 'MASTER_ADDR' not in os.environ:
        os.environ['MASTER_ADDR'] = first_machine(launcher)
    port = dist_cfg_of(cfg).get('port', 29500)
    os.environ.setdefault('MASTER_PORT', str(port))


def wrap_for_cpu(cfg: Config) -> None:
    """Have the model wrapped for gloo on the CPU.

    Args:
        cfg: Changed in place.
    """
    cfg.merge_from_dict({'env_cfg.dist_cfg.backend': 'gloo'})
    cfg.model_wrapper_cfg = {
        'type': 'MMDistributedDataParallel',
        'broadcast_buffers': False,
        'find_unused_parameters': cfg.get('find_unused_parameters', False),
        **(cfg.get('model_wrapper_cfg') or {}),
        'device_ids': None,
    }


def first_machine(launcher: str) -> str:
    """Machine where the processes meet.

    Args:
        launcher: Who started this process.

    Returns:
        The first machine of a Slurm job, else this machine.
    """
    nodes = os.environ.get('SLURM_NODELIST')
    if launcher != 'slurm' or not nodes:
        return '127.0.0.1'
    listed = subprocess.run(
        ['scontrol', 'show', 'hostnames', nodes],
        capture_output=True,
        text=True,
        check=True,
    )
    return listed.stdout.split()[0]
