"""One warning for all processes of a run."""

import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path

EXPIRES_AFTER = 3600.0


def may_warn(about: str) -> bool:
    """Ask whether this process is the one to speak.

    Args:
        about: What the warning is about; made to part of a file name.

    Returns:
        True for one process of the process group, and again after an hour.
    """
    name = f'mmtvr-warned-{os.getpgrp()}-{about}'
    path = Path(tempfile.gettempdir(), name)
    with suppress(OSError):
        if path.stat().st_mtime + EXPIRES_AFTER < time.time():
            path.unlink()
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return False
    except OSError:
        pass
    return True
