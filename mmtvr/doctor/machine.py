"""Disk, shared memory, open files and memory of this machine."""

import os
import shutil
import tempfile
from pathlib import Path

from mmtvr.doctor.finding import Finding

NAME = 'machine'
GIBIBYTE = 2**30
SHARED = Path('/dev/shm')
# A batch of 16 videos of 12 frames of 224 pixels has 29 MB, and eight workers
# keep two each.
SHARED_LEAST = GIBIBYTE
FILES_LEAST = 4096
CACHE_LEAST, TEMPORARY_LEAST = GIBIBYTE, GIBIBYTE // 2


def check_machine() -> list[Finding]:
    """Look at what runs out.

    Returns:
        Findings for disks, shared memory, open files and memory.
    """
    places = {
        'this folder': (Path.cwd(), CACHE_LEAST),
        'temporary files': (Path(tempfile.gettempdir()), TEMPORARY_LEAST),
        **_find_caches(),
    }
    findings = [
        check_disk_space(NAME, subject, path, least)
        for subject, (path, least) in places.items()
    ]
    if SHARED.is_dir():
        findings.append(check_shared_memory(SHARED))
    return [*findings, *_check_limits(), *_describe_memory()]


def _find_caches() -> dict[str, tuple[Path, int]]:
    caches = {}
    try:
        from platformdirs import user_cache_path

        caches['cache of mmtvr'] = user_cache_path('mmtvr'), CACHE_LEAST
        from huggingface_hub import constants

        hub = Path(constants.HF_HUB_CACHE)
        caches['cache of pretrained models'] = hub, CACHE_LEAST
    except ImportError:
        pass
    return caches


def check_disk_space(
    check: str, subject: str, path: Path, least: int
) -> Finding:
    """Look how much space a folder has, and whether it can be written to.

    Args:
        check: Which check speaks.
        subject: What the folder is.
        path: The folder; it need not be there.
        least: Bytes below which a warning is due.

    Returns:
        The finding.
    """
    place = path.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    text = f'{free / GIBIBYTE:,.1f} GiB free in {path}'
    if not os.access(place, os.W_OK):
        text = f'{place} cannot be written to'
        return Finding(
            check, subject, 'warning', text, 'choose another folder'
        )
    if free < least:
        way_out = 'free some, or choose a folder on another disk'
        return Finding(check, subject, 'warning', text, way_out)
    return Finding(check, subject, 'ok', text)


def check_shared_memory(path: Path) -> Finding:
    """Look at the memory in which loading workers hand batches over.

    Args:
        path: Where it is mounted.

    Returns:
        The finding.
    """
    total = shutil.disk_usage(path).total
    text = f'{total / GIBIBYTE:.2f} GiB in {path}'
    if total >= SHARED_LEAST:
        return Finding(NAME, 'shared memory', 'ok', text)
    return Finding(
        *(NAME, 'shared memory', 'warning'),
        f'{text}: workers that load videos die with "Bus error"',
        'start the container with --shm-size=8g (docker) or --ipc=host; or '
        '--cfg-options train_dataloader.num_workers=0',
    )


def _check_limits() -> list[Finding]:
    try:
        import resource
    except ImportError:  # Windows
        return []
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return [check_open_files(soft, hard)]


def check_open_files(soft: int, hard: int) -> Finding:
    """Judge how many files a process may have open.

    Args:
        soft: The limit that is in force; negative for none.
        hard: The limit up to which a user can raise it.

    Returns:
        The finding.
    """
    text = 'no limit' if soft < 0 else f'{soft:,} at once'
    if soft < 0 or soft >= FILES_LEAST:
        return Finding(NAME, 'open files', 'ok', text)
    most = FILES_LEAST if hard < 0 else min(FILES_LEAST, hard)
    return Finding(
        *(NAME, 'open files', 'warning'),
        f'{text}: many workers stop with "Too many open files"',
        f'ulimit -n {most}, in the shell before the command',
    )


def _describe_memory() -> list[Finding]:
    try:
        pages = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
    except (AttributeError, ValueError, OSError):
        return []
    text = f'{pages / GIBIBYTE:.0f} GiB, {os.cpu_count()} cores'
    return [Finding(NAME, 'memory', 'ok', text)]
