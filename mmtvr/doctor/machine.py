"""What the machine offers: devices, two processes, disks, memory, limits."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

from mmtvr.doctor.findings import Finding

GIBIBYTE = 2**30
NVIDIA = Path('/dev/nvidia0')


def check_devices() -> list[Finding]:
    """Look for GPUs and for what makes them useful."""
    import torch
    from torch import distributed

    threads = f'{torch.get_num_threads()} threads for computing'
    findings = [Finding('devices', 'CPU', 'ok', threads)]
    if not torch.cuda.is_available():
        return [*findings, _explain_no_gpu()]
    count = torch.cuda.device_count()
    findings += [_describe_gpu(number) for number in range(count)]
    if distributed.is_nccl_available():
        nccl = 'ok', 'available', ''
    else:
        nccl = (
            'ok' if count < 2 else 'warning',
            'not in this build of PyTorch',
            '--cfg-options env_cfg.dist_cfg.backend=gloo, or another build',
        )
    findings.append(Finding('devices', 'nccl', *nccl))
    if find_spec('triton') is None:
        triton = 'not installed; it is optional', 'pip install triton (Linux)'
    else:
        triton = 'installed', ''
    findings.append(Finding('devices', 'Triton', 'ok', *triton))
    return findings


def _explain_no_gpu() -> Finding:
    import torch

    if not NVIDIA.exists():
        text = 'none; training on real videos takes one, --amp too'
        return Finding('devices', 'GPU', 'ok', text)
    if torch.version.cuda is None:
        return Finding(
            *('devices', 'GPU', 'warning'),
            f'there is one, but PyTorch {torch.__version__} is built for CPUs',
            'pip install --force-reinstall torch, without the index of CPU '
            'builds',
        )
    return Finding(
        *('devices', 'GPU', 'warning'),
        f'there is one, but PyTorch (CUDA {torch.version.cuda}) does not '
        'find it',
        'compare the driver in nvidia-smi with that CUDA version; check '
        'CUDA_VISIBLE_DEVICES',
    )


def _describe_gpu(number: int) -> Finding:
    import torch

    found = torch.cuda.get_device_properties(number)
    free, total = torch.cuda.mem_get_info(number)
    text = (
        f'{found.name}, {total / GIBIBYTE:.0f} GiB, '
        f'{free / GIBIBYTE:.0f} GiB free'
    )
    subject = f'GPU {number}'
    if not torch.cuda.is_bf16_supported():
        return Finding(
            *('devices', subject, 'warning', f'{text}; no bfloat16'),
            'use --amp in float16, the default',
        )
    return Finding('devices', subject, 'ok', f'{text}, bfloat16')


SECONDS = 40
# Each contributes its own number; both must hold the sum.
PROGRAM = """
import sys, datetime, torch
from torch import distributed as dist
backend, rank, port = sys.argv[1], int(sys.argv[2]), sys.argv[3]
device = torch.device('cuda', rank) if backend == 'nccl' else 'cpu'
dist.init_process_group(
    backend, init_method=f'tcp://127.0.0.1:{port}', world_size=2, rank=rank,
    timeout=datetime.timedelta(seconds=30))
value = torch.tensor([rank + 1.0], device=device)
dist.all_reduce(value)
assert value.item() == 3.0, value
print('sum 3', flush=True)
dist.destroy_process_group()
import os
os._exit(0)
"""


FIXES = {
    'gloo': 'set GLOO_SOCKET_IFNAME to the network interface (lo for one '
    'machine); one process works without: python tools/train.py CONFIG',
    'nccl': 'set NCCL_DEBUG=INFO to see why; NCCL_P2P_DISABLE=1 and '
    'NCCL_SOCKET_IFNAME are the usual fixes',
}


def check_two_processes() -> list[Finding]:
    """Let two processes all-reduce a number, over gloo and nccl."""
    import torch
    from torch import distributed

    if not distributed.is_available():
        text = 'this build of PyTorch has no torch.distributed'
        subject = 'torch.distributed'
        return [Finding('two processes', subject, 'warning', text)]
    findings = [all_reduce('gloo')]
    if torch.cuda.device_count() > 1 and distributed.is_nccl_available():
        findings.append(all_reduce('nccl'))
    return findings


def all_reduce(
    backend: str, program: str = PROGRAM, seconds: float = SECONDS
) -> Finding:
    """Start two processes that sum a number over both.

    Args:
        backend: ``'gloo'`` or ``'nccl'``.
        program: What each runs, with backend, rank and port.
        seconds: How long they may take.
    """
    start = time.perf_counter()
    with closing(socket.socket()) as free:
        free.bind(('127.0.0.1', 0))
        port = str(free.getsockname()[1])
    processes = [
        subprocess.Popen(
            [sys.executable, '-c', program, backend, str(rank), port],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    text = ''
    try:
        for rank, process in enumerate(processes):
            output, errors = process.communicate(timeout=seconds)
            if 'sum 3' not in output and not text:
                last = (errors.strip().splitlines() or ['no message'])[-1]
                text = f'process {rank} failed: {last}'
    except subprocess.TimeoutExpired:
        text = text or f'no answer within {seconds:.0f} s'
    finally:
        for process in processes:
            process.kill()
            process.wait()
    if text:
        fix = FIXES[backend]
        return Finding('two processes', backend, 'warning', text, fix)
    text = f'two processes met in {time.perf_counter() - start:.1f} s'
    return Finding('two processes', backend, 'ok', text)


SHARED = Path('/dev/shm')
# A batch of 16 videos of 12 frames of 224 pixels has 29 MB, and eight workers
# keep two each.
MIN_SHARED = GIBIBYTE
MIN_FILES = 4096
MIN_CACHE, MIN_TEMPORARY = GIBIBYTE, GIBIBYTE // 2


def check_machine() -> list[Finding]:
    """Look at disks, shared memory, open files and memory."""
    temporary = Path(tempfile.gettempdir())
    places = {
        'this folder': (Path.cwd(), MIN_CACHE),
        'temporary files': (temporary, MIN_TEMPORARY),
        **_find_caches(),
    }
    findings = [
        check_disk_space('machine', subject, path, needed)
        for subject, (path, needed) in places.items()
    ]
    if SHARED.is_dir():
        findings.append(check_shared_memory(SHARED))
    return [*findings, *_check_limits(), *_describe_memory()]


def _find_caches() -> dict[str, tuple[Path, int]]:
    caches = {}
    try:
        from platformdirs import user_cache_path

        caches['cache of mmtvr'] = user_cache_path('mmtvr'), MIN_CACHE
        from huggingface_hub import constants

        hub = Path(constants.HF_HUB_CACHE)
        caches['cache of pretrained models'] = hub, MIN_CACHE
    except ImportError:
        pass
    return caches


def check_disk_space(
    check: str, subject: str, path: Path, needed: int
) -> Finding:
    """Check that a folder has free space and can be written to.

    Args:
        check: Name of the check.
        subject: What the folder is.
        path: The folder; it need not exist.
        needed: Bytes below which a warning is due.
    """
    place = path.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    text = f'{free / GIBIBYTE:,.1f} GiB free in {path}'
    if not os.access(place, os.W_OK):
        text = f'{place} cannot be written to'
        fix = 'choose another folder'
    elif free < needed:
        fix = 'free some, or choose a folder on another disk'
    else:
        return Finding(check, subject, 'ok', text)
    return Finding(check, subject, 'warning', text, fix)


def check_shared_memory(path: Path) -> Finding:
    """Check the memory in which loading workers pass batches on."""
    total = shutil.disk_usage(path).total
    text = f'{total / GIBIBYTE:.2f} GiB in {path}'
    if total >= MIN_SHARED:
        return Finding('machine', 'shared memory', 'ok', text)
    return Finding(
        *('machine', 'shared memory', 'warning'),
        f'{text}: workers that load videos die with "Bus error"',
        'start the container with --shm-size=8g (docker) or --ipc=host; or '
        '--cfg-options train_dataloader.num_workers=0',
    )


def _check_limits() -> list[Finding]:
    try:
        import resource
    except ImportError:  # Windows
        return []
    return [check_open_files(*resource.getrlimit(resource.RLIMIT_NOFILE))]


def check_open_files(soft: int, hard: int) -> Finding:
    """Check the soft and the hard limit of open files; negative is none."""
    text = 'no limit' if soft < 0 else f'{soft:,} at once'
    if soft < 0 or soft >= MIN_FILES:
        return Finding('machine', 'open files', 'ok', text)
    possible = MIN_FILES if hard < 0 else min(MIN_FILES, hard)
    return Finding(
        *('machine', 'open files', 'warning'),
        f'{text}: many workers stop with "Too many open files"',
        f'ulimit -n {possible}, in the shell before the command',
    )


def _describe_memory() -> list[Finding]:
    try:
        pages = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
    except (AttributeError, ValueError, OSError):
        return []
    text = f'{pages / GIBIBYTE:.0f} GiB, {os.cpu_count()} cores'
    return [Finding('machine', 'memory', 'ok', text)]
