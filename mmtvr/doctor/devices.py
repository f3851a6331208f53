"""What PyTorch can compute on."""

from importlib.util import find_spec
from pathlib import Path

from mmtvr.doctor.finding import Finding

NAME = 'devices'
GIBIBYTE = 2**30
NVIDIA = Path('/dev/nvidia0')


def check_devices() -> list[Finding]:
    """Look for GPUs and for what makes them useful.

    Returns:
        Findings for the CPU, each GPU, its collective library and Triton.
    """
    import torch

    findings = [_describe_cpu()]
    if not torch.cuda.is_available():
        return [*findings, _explain_no_gpu()]
    count = torch.cuda.device_count()
    findings += [_describe_gpu(number) for number in range(count)]
    return [*findings, *_check_libraries(count)]


def _describe_cpu() -> Finding:
    import torch

    count = torch.get_num_threads()
    text = f'{count} thread{"s" if count > 1 else ""} for computing'
    return Finding(NAME, 'CPU', 'ok', text)


def _explain_no_gpu() -> Finding:
    import torch

    if not NVIDIA.exists():
        text = 'none; training on real videos takes one, --amp too'
        return Finding(NAME, 'GPU', 'ok', text)
    if torch.version.cuda is None:
        return Finding(
            *(NAME, 'GPU', 'warning'),
            f'there is one, but PyTorch {torch.__version__} is built for CPUs',
            'pip install --force-reinstall torch, without the index of CPU '
            'builds',
        )
    return Finding(
        *(NAME, 'GPU', 'warning'),
        f'there is one, but PyTorch (CUDA {torch.version.cuda}) does not '
        'find it',
        'compare the driver in nvidia-smi with that CUDA version; look at '
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
            *(NAME, subject, 'warning', f'{text}; no bfloat16'),
            'use --amp in float16, the default',
        )
    return Finding(NAME, subject, 'ok', f'{text}, bfloat16')


def _check_libraries(count: int) -> list[Finding]:
    from torch import distributed

    has_nccl = distributed.is_nccl_available()
    findings = [
        Finding(
            *(NAME, 'nccl', 'ok' if has_nccl or count < 2 else 'warning'),
            'there' if has_nccl else 'not in this build of PyTorch',
            ''
            if has_nccl
            else '--cfg-options env_cfg.dist_cfg.backend=gloo, or another '
            'build',
        )
    ]
    if find_spec('triton') is None:
        findings.append(
            Finding(
                *(NAME, 'Triton', 'warning'),
                'not installed; similarities are computed by PyTorch, slower '
                'and with more memory',
                'pip install triton (Linux)',
            )
        )
    else:
        findings.append(Finding(NAME, 'Triton', 'ok', 'there'))
    return findings
