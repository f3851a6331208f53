"""A quicker start of a command."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def garbage_kept() -> Iterator[None]:
    """Collect no garbage meanwhile.

    Imports, configs and models are a million objects that stay. To look for
    garbage among them again and again is a tenth of the time to the first
    iteration.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
