"""Whether two processes of this machine can work together."""

import socket
import subprocess
import sys
import time
from contextlib import closing

from mmtvr.doctor.finding import Finding

NAME = 'two processes'
SECONDS = 40
# Each adds its own number; both must hold the sum.
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
print('sum 3')
sys.stdout.flush()
dist.destroy_process_group()
import os
os._exit(0)
"""


def check_two_processes() -> list[Finding]:
    """Let two processes add their numbers up, over gloo and, if there, nccl.

    Returns:
        A finding for each way of communication.
    """
    import torch
    from torch import distributed

    if not distributed.is_available():
        text = 'this build of PyTorch has no torch.distributed'
        return [Finding(NAME, 'torch.distributed', 'warning', text)]
    findings = [add_up('gloo')]
    if torch.cuda.device_count() > 1 and distributed.is_nccl_available():
        findings.append(add_up('nccl'))
    return findings


def add_up(
    backend: str, program: str = PROGRAM, seconds: float = SECONDS
) -> Finding:
    """Start two processes that add their numbers up.

    Args:
        backend: ``'gloo'`` or ``'nccl'``.
        program: What each runs, with backend, rank and port.
        seconds: How long they may take.

    Returns:
        How long it took, or why it failed.
    """
    start = time.perf_counter()
    command = [sys.executable, '-c', program, backend]
    port = str(find_free_port())
    processes = [
        subprocess.Popen(
            [*command, str(rank), port],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        ends = [process.communicate(timeout=seconds) for process in processes]
    except subprocess.TimeoutExpired:
        text = f'no answer within {seconds:.0f} s'
        return Finding(NAME, backend, 'warning', text, WAYS_OUT[backend])
    finally:
        for process in processes:
            process.kill()
            process.wait()
    for rank, (said, complaint) in enumerate(ends):
        if 'sum 3' not in said:
            last = (complaint.strip().splitlines() or ['no word'])[-1]
            text = f'process {rank} failed: {last}'
            return Finding(NAME, backend, 'warning', text, WAYS_OUT[backend])
    taken = time.perf_counter() - start
    text = f'two processes met and added up in {taken:.1f} s'
    return Finding(NAME, backend, 'ok', text)


WAYS_OUT = {
    'gloo': 'set GLOO_SOCKET_IFNAME to the network interface (lo for one '
    'machine); one process works without: python tools/train.py CONFIG',
    'nccl': 'set NCCL_DEBUG=INFO to see why; NCCL_P2P_DISABLE=1 and '
    'NCCL_SOCKET_IFNAME are the usual cures',
}


def find_free_port() -> int:
    """Ask the system for a port.

    Returns:
        A port that was free a moment ago.
    """
    with closing(socket.socket()) as listening:
        listening.bind(('127.0.0.1', 0))
        return listening.getsockname()[1]
