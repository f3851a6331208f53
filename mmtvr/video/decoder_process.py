"""A process of its own for each thread that decodes videos.

The process can be killed at any time, and a decoder that dies takes nothing
else along. Frames come through a file in memory that both sides have open, all
else as JSON through two pipes: not as pickles, so that a decoder that was
taken over can make the other side execute nothing.
"""

import contextlib
import importlib
import json
import mmap
import os
import select
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import weakref
from io import FileIO
from typing import Any

import numpy as np

from mmtvr.errors import SetupError
from mmtvr.video.reader import UnreadableVideoError, VideoReader

# Starting reads Python, numpy and a decoder from what may be a slow disk.
SECONDS_TO_START = 120
SECONDS_TO_DIE = 5
START = (
    'import sys; sys.path[:] = sys.argv[3:]; '
    'from mmtvr.video.decoder_process import main; '
    'main(int(sys.argv[1]), int(sys.argv[2]))'
)
# Against what a decoder may leak; a new process takes some tenths of a second.
FILES_PER_PROCESS = 2000
# The process has one core; threads of libraries would only be in the way.
ONE_THREAD = dict.fromkeys(
    ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'OPENCV_FOR_THREADS_NUM'), '1'
)
# The frames of each file are as large as those of the one before: glibc is to
# keep the memory (MALLOC_* of mallopt(3)) rather than to fault it in again.
KEEP_MEMORY = dict(
    MALLOC_MMAP_THRESHOLD_=str(2**25),
    MALLOC_TRIM_THRESHOLD_=str(2**27),
    MALLOC_TOP_PAD_=str(2**24),
)
LENGTH = struct.Struct('<I')
CHUNK = 1 << 16
PR_SET_PDEATHSIG = 1
MAX_KEPT_BYTES = 2**26


class ProcessEndedError(Exception):
    """The other side has closed its end of the pipe."""


def write_message(pipe: int, message: dict) -> None:
    """Write a length and JSON to a file descriptor.

    Raises:
        ProcessEndedError: If nobody reads any more.
    """
    content = json.dumps(message).encode()
    left = memoryview(LENGTH.pack(len(content)) + content)
    try:
        while left:
            left = left[os.write(pipe, left) :]
    except BrokenPipeError as error:
        raise ProcessEndedError from error


def read_message(pipe: int, deadline: float | None = None) -> dict:
    """Read what :func:`write_message` wrote.

    Args:
        pipe: File descriptor.
        deadline: When to stop waiting, by :func:`time.monotonic`; None: never.

    Raises:
        ProcessEndedError: If the other side has ended.
        TimeoutError: If the message is not there by the deadline.
    """
    content = bytearray()
    end = LENGTH.size
    while len(content) < end:
        if deadline is not None:
            _wait(pipe, deadline)
        # Each side waits for the other, so no second message follows: one
        # read gets all of a small one.
        part = os.read(pipe, CHUNK)
        if not part:
            raise ProcessEndedError
        content += part
        if len(content) >= LENGTH.size:
            end = LENGTH.size + LENGTH.unpack_from(content)[0]
    if len(content) > end:
        raise ProcessEndedError('it sent more than it was asked for')
    return json.loads(content[LENGTH.size :])


def _wait(pipe: int, deadline: float) -> None:
    # poll and not select, which refuses descriptors from 1024 on.
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    left = deadline - time.monotonic()
    if not poll.poll(max(0, 1000 * left)):
        raise TimeoutError


class DecoderProcess:
    """A process that decodes for the thread and the process that started it.

    It is started by exec, not by a fork, so it shares no lock and no decoder
    with anybody, and a daemonic worker of a data loader may have one. It ends
    with its owner: on Linux the kernel sees to it, elsewhere the pipe that
    closes does, once the decoder releases the interpreter.

    Raises:
        SetupError: If the process cannot be started.
    """

    def __init__(self) -> None:
        self.owner = os.getpid()
        self.opened = 0
        self.dropped: list[int] = []
        self._shared = _open_file_in_memory()
        self._process: subprocess.Popen | None = None
        try:
            self._start()
        except (ProcessEndedError, TimeoutError, OSError) as error:
            self.kill()
            raise SetupError(
                f'The process that reads videos did not start ({error}), see '
                'above; time_limit=None in mmtvr.LoadVideoFrames reads '
                'without one.'
            ) from error

    def _start(self) -> None:
        number = self._shared.fileno()
        command = [sys.executable, '-c', START, str(number), str(self.owner)]
        self._process = subprocess.Popen(
            [*command, *filter(None, sys.path)],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=(number,),
            env={**KEEP_MEMORY, **os.environ, **ONE_THREAD},
        )
        _all_processes.add(self)
        self._requests = self._process.stdin.fileno()
        self._replies = self._process.stdout.fileno()
        read_message(self._replies, time.monotonic() + SECONDS_TO_START)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def is_usable(self) -> bool:
        """Whether it runs and belongs to this process."""
        return self.owner == os.getpid() and not self._shared.closed

    def ask(self, request: dict, deadline: float) -> dict:
        """Send a request and wait for the answer.

        Whatever interrupts it kills the process, whose state is then unknown.

        Args:
            request: A method of ``_Server`` in ``do``, and its arguments.
            deadline: When to give up, by :func:`time.monotonic`.

        Raises:
            TimeoutError: If there is no answer by the deadline.
            ProcessEndedError: If the process died; the message says how.
        """
        dropped, self.dropped = self.dropped, []
        state = dict(drop=dropped, folder=_find_folder())
        try:
            write_message(self._requests, {**request, **state})
            return read_message(self._replies, deadline)
        except ProcessEndedError as error:
            raise ProcessEndedError(self._describe_end()) from error
        except BaseException:
            self.kill()
            raise

    def fetch(self, layout: list[tuple[list[int], str]]) -> list[np.ndarray]:
        """Copy arrays that the process has put into the shared file.

        Args:
            layout: Shape and type of each, as numpy writes it.

        Raises:
            ProcessEndedError: If the file does not hold so much.
        """
        self._shared.seek(0)
        arrays = [np.empty(shape, dtype) for shape, dtype in layout]
        for array in arrays:
            left = memoryview(array).cast('B') if array.size else b''
            while left:
                count = self._shared.readinto(left)
                if not count:
                    raise ProcessEndedError('the shared file is too short')
                left = left[count:]
        return arrays

    def kill(self) -> None:
        """End the process at once, whatever it is doing."""
        if self._process is not None:
            self._process.kill()
            self._wait()
        self.disconnect()

    def disconnect(self) -> None:
        """Close the pipes; if nobody else holds them, the process ends."""
        self._shared.close()
        if self._process is not None:
            self._process.stdin.close()
            self._process.stdout.close()

    def _wait(self) -> int | None:
        try:
            return self._process.wait(SECONDS_TO_DIE)
        except subprocess.TimeoutExpired:
            # It waits for a disk or a file server that does not answer, which
            # no signal interrupts; subprocess reaps it later.
            return None

    def _describe_end(self) -> str:
        status = self._wait()
        self.kill()
        if status is None:
            return 'the decoder died'
        if status >= 0:
            return f'the decoder ended its process with status {status}'
        number = -status
        known = {member.value: member.name for member in signal.Signals}
        name = known.get(number, f'signal {number}')
        why = signal.strsignal(number) or 'unknown signal'
        return f'the decoder died of {name} ({why})'

    def __del__(self) -> None:
        if self.is_usable:
            self.kill()


_all_processes: 'weakref.WeakSet[DecoderProcess]' = weakref.WeakSet()
_of_thread = threading.local()


def get_decoder_process(max_files: int | None = None) -> DecoderProcess:
    """Find or start the process of this thread.

    Args:
        max_files: A process that has opened so many files gives way to a new
            one. None: ``FILES_PER_PROCESS``.
    """
    process = getattr(_of_thread, 'process', None)
    most = FILES_PER_PROCESS if max_files is None else max_files
    if process is None or not process.is_usable or process.opened >= most:
        # The old one ends when the last reader that it serves is gone.
        process = _of_thread.process = DecoderProcess()
    return process


def end_decoder_process() -> None:
    """End the process of this thread if there is one."""
    process = getattr(_of_thread, 'process', None)
    _of_thread.process = None
    if process is not None and process.is_usable:
        process.kill()


def kill_decoder_processes() -> None:
    """Kill those of all threads; who waits for one gets an error.

    The calling thread waits for none and gets a new one when it needs it.
    """
    for process in list(_all_processes):
        if process.is_usable and process._process is not None:
            process._process.kill()
    _of_thread.process = None


def _find_folder() -> str | None:
    # Absolute paths can be read from a folder that was deleted, too.
    with contextlib.suppress(FileNotFoundError):
        return os.getcwd()
    return None


def _open_file_in_memory() -> FileIO:
    """Open a file that has no name and goes with its last user."""
    if hasattr(os, 'memfd_create'):
        return FileIO(os.memfd_create('mmtvr-frames'), 'r+')
    return tempfile.TemporaryFile(buffering=0)


def _leave_to_parent() -> None:
    """After a fork: they are the parent's, and must notice when it ends."""
    for process in list(_all_processes):
        process.disconnect()
        # It is no child of this process, so there is nothing to wait for.
        process._process.returncode = 0
    _all_processes.clear()
    _of_thread.process = None


if hasattr(os, 'register_at_fork'):
    os.register_at_fork(after_in_child=_leave_to_parent)


def main(shared: int, parent: int) -> None:
    """Answer requests until the parent is gone; runs in the new process.

    Args:
        shared: File descriptor of the shared file in memory.
        parent: Process that started this one.
    """
    _prepare(parent)
    requests, replies = os.dup(0), os.dup(1)
    # A decoder that prints must not print into the answers.
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    with contextlib.suppress(ProcessEndedError):
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
        # Where memory runs out, a huge frame must not cost the training.
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
            if request['folder'] is not None:
                # Relative paths are those of the process that asks.
                os.chdir(request['folder'])
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
        reader = _call(request)
        self.readers[request['number']] = reader
        return dict(count=len(reader))

    def _call(self, request: dict) -> dict:
        return dict(value=_call(request))

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
        if not needed <= size <= max(MAX_KEPT_BYTES, needed):
            self.memory = None
            os.ftruncate(self.shared, needed)
            self.memory = mmap.mmap(self.shared, needed)


def _call(request: dict) -> Any:
    """Call what the request describes, see ``describe_callable``."""
    kind: Any = importlib.import_module(request['module'])
    for name in request['name'].split('.'):
        kind = getattr(kind, name)
    return kind(*request['arguments'], **request['options'])
