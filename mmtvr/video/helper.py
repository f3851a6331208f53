"""What runs in a helper process: it opens files and answers for them.

Frames go into a file in memory that the process shares with its helper, all
else through the two pipes. The parent need not end the helper: it goes with
the parent, even if a decoder holds the interpreter at that moment.
"""

import contextlib
import importlib
import mmap
import os
import signal
import sys
import traceback
from typing import Any

import numpy as np

from mmtvr.errors import SetupError
from mmtvr.video.messages import HelperEndedError, read_message, write_message
from mmtvr.video.reader import UnreadableVideoError, VideoReader

PR_SET_PDEATHSIG = 1
KEPT_BYTES = 2**26


def main(shared: int, parent: int) -> None:
    """Answer requests until the parent is gone.

    Args:
        shared: File descriptor of the shared file in memory.
        parent: Process that started this one.
    """
    _prepare(parent)
    requests, replies = os.dup(0), os.dup(1)
    # A decoder that prints must not print into the answers.
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    with contextlib.suppress(HelperEndedError):
        write_message(replies, {})
        server = _Server(shared)
        while True:
            write_message(replies, server.answer(read_message(requests)))
    # A decoder could hang in taking itself down.
    os._exit(0)


def _prepare(parent: int) -> None:
    # Ctrl-C reaches the whole group; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == 'linux':
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        # Where memory runs out, a huge picture must not cost the training.
        with (
            contextlib.suppress(OSError),
            open('/proc/self/oom_score_adj', 'w') as file,
        ):
            file.write('1000')
    if os.getppid() != parent:
        os._exit(0)
    with contextlib.suppress(ImportError, ValueError):
        import resource

        # A decoder that dies of one file must not fill the disk.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


class _Server:
    def __init__(self, shared: int) -> None:
        self.shared = shared
        self.memory: mmap.mmap | None = None
        self.readers: dict[int, VideoReader] = {}

    def answer(self, request: dict) -> dict:
        """Do what is asked, and turn errors into answers."""
        try:
            for number in request['drop']:
                reader = self.readers.pop(number, None)
                if reader is not None:
                    reader.close()
            return getattr(self, '_' + request['do'])(request)
        except UnreadableVideoError as error:
            return dict(unreadable=str(error))
        except SetupError as error:
            return dict(setup=str(error))
        except MemoryError:
            return dict(no_memory=True)
        except Exception:
            return dict(fault=traceback.format_exc())

    def _open(self, request: dict) -> dict:
        reader = _run(request)
        self.readers[request['number']] = reader
        return dict(count=len(reader))

    def _call(self, request: dict) -> dict:
        return dict(value=_run(request))

    def _frames(self, request: dict) -> dict:
        reader = self.readers[request['number']]
        arrays = [reader.get_frames(request['indices'])]
        if request['with_times']:
            with contextlib.suppress(UnreadableVideoError):
                arrays.append(reader.get_times())
        return dict(
            arrays=self._share(*arrays), original_shape=reader.original_shape
        )

    def _times(self, request: dict) -> dict:
        times = self.readers[request['number']].get_times()
        return dict(arrays=self._share(times))

    def _look_up(self, request: dict) -> dict:
        value = getattr(self.readers[request['number']], request['name'])
        return dict(value=value)

    def _share(self, *arrays: np.ndarray) -> list[tuple]:
        self._make_room(sum(array.nbytes for array in arrays))
        place = 0
        for array in arrays:
            shared = np.ndarray(array.shape, array.dtype, self.memory, place)
            shared[...] = array
            place += array.nbytes
        return [(array.shape, array.dtype.str) for array in arrays]

    def _make_room(self, needed: int) -> None:
        # Pages that stay are filled four times as fast as new ones, and
        # mapped ones three times as fast as by a call for each piece.
        size = 0 if self.memory is None else len(self.memory)
        # Nothing cannot be mapped.
        needed = max(needed, 1)
        if not needed <= size <= max(KEPT_BYTES, needed):
            self.memory = None
            os.ftruncate(self.shared, needed)
            self.memory = mmap.mmap(self.shared, needed)


def _run(request: dict) -> Any:
    kind: Any = importlib.import_module(request['module'])
    for name in request['name'].split('.'):
        kind = getattr(kind, name)
    return kind(*request['arguments'], **request['options'])
