"""A reader that fails now and then, for measurements of what follows."""

import ctypes
import os
import time

from mmtvr.video import AutoReader


class FailingReader(AutoReader):
    """Reads well, but hangs and dies at files with a telling name.

    Args:
        path: A video file. ``hangs`` in its name: the reader holds the
            interpreter for ever; ``spins``: it computes for ever; ``dies``:
            it reads where no memory is; ``ends``: it ends its process.
        short_side: See :class:`mmtvr.video.VideoReader`.
    """

    def __init__(self, path: str, short_side: int | None = None) -> None:
        name = os.path.basename(path)
        if 'hangs' in name:
            ctypes.PyDLL(None).sleep(10**6)
        while 'spins' in name:
            time.perf_counter()
        if 'dies' in name:
            ctypes.string_at(0)
        if 'ends' in name:
            os._exit(3)
        super().__init__(path, short_side)
