"""One warning for all processes of a run."""

import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path

PREFIX = 'mmtvr-warned-'
EXPIRES_AFTER = 3600.0


def may_warn(about: str) -> bool:
    """Ask whether this process is the one to speak.

    Args:
        about: What the warning is about; made to part of a file name.

    Returns:
        True for one process of the process group, and again after an hour.
    """
    folder = Path(tempfile.gettempdir())
    for old in folder.glob(f'{PREFIX}*'):
        with suppress(OSError):
            if old.stat().st_mtime + EXPIRES_AFTER < time.time():
                old.unlink()
    path = folder / f'{PREFIX}{os.getpgrp()}-{about}'
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return False
    except OSError:
        pass
    return True
