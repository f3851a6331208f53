"""A reader in a process of its own, which can be killed at any time."""

import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from mmtvr.errors import SetupError
from mmtvr.video.decoder_process import (
    DecoderProcess,
    ProcessEndedError,
    get_decoder_process,
)
from mmtvr.video.reader import UnreadableVideoError, VideoReader


class DecoderFailedError(UnreadableVideoError):
    """The decoder took too long over a file or died of it."""


class SupervisedReader(VideoReader):
    """A video file opened by another reader, in the process of this thread.

    Whatever the decoder does, this process goes on: one that takes too long
    is killed, one that dies ends only its own process, and the next file gets
    a new one. Frames come through memory that both share.

    Args:
        path: The video file.
        short_side: See :class:`VideoReader`.
        reader: The class of the reader, or a :func:`functools.partial` of it;
            the other process imports it by its name, so no lambda and no class
            inside a function. Options must be what JSON can hold.
        time_limit: Seconds that all work on this file may take together.

    Raises:
        SetupError: From the reader, or if no process can be started.
        DecoderFailedError: If the reader took too long or died.
        UnreadableVideoError: From the reader.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        short_side: int | None = None,
        *,
        reader: Callable[..., VideoReader],
        time_limit: float = 60.0,
    ) -> None:
        super().__init__(path, short_side)
        self.time_limit = self._left = time_limit
        self._known: dict[str, Any] = {}
        self._times: np.ndarray | None = None
        self._process: DecoderProcess | None = None
        self._process = get_decoder_process()
        self._number = self._process.opened = self._process.opened + 1
        request = _describe_callable(reader)
        request['arguments'] = [self.path, *request['arguments']]
        if short_side is not None:
            request['options']['short_side'] = short_side
        self._count = self._ask('open', **request)['count']

    def restart_time_limit(self) -> None:
        """Give the next work on this file as much time as the first."""
        self._left = self.time_limit

    def __len__(self) -> int:
        """Number of frames, at least one."""
        return self._count

    @property
    def original_shape(self) -> tuple[int, int]:
        """Height and width of the first frame, as it is displayed."""
        height, width = self._look_up('original_shape')
        return height, width

    @property
    def fps(self) -> float:
        """Frames per second, on average; 0 where the file does not say."""
        return self._look_up('fps')

    @property
    def codec(self) -> str:
        """FFmpeg's name of the format, as ``'h264'``."""
        return self._look_up('codec')

    @property
    def rotation(self) -> int:
        """Degrees, anticlockwise, by which stored frames were turned."""
        return self._look_up('rotation')

    def get_frames(self, indices: Sequence[int]) -> np.ndarray:
        """Decode frames, see :class:`VideoReader`."""
        wanted = np.asarray(indices, np.int64).reshape(-1)
        different, places = np.unique(wanted, return_inverse=True)
        if len(different) < len(wanted):
            return self._ask_for_frames(different)[places]
        return self._ask_for_frames(wanted)

    def _ask_for_frames(self, indices: np.ndarray) -> np.ndarray:
        # Times are mostly wanted too, and each question costs two changes of
        # process.
        answer = self._ask(
            'frames',
            indices=indices.tolist(),
            with_times=self._times is None,
        )
        self._known['original_shape'] = answer['original_shape']
        frames, *times = self._fetch(answer)
        self._times = times[0] if times else self._times
        return frames

    def get_times(self) -> np.ndarray:
        """Return when each frame is shown, see :class:`VideoReader`."""
        if self._times is None:
            (self._times,) = self._fetch(self._ask('times'))
        return self._times.copy()

    def _fetch(self, answer: dict) -> list[np.ndarray]:
        try:
            return self._process.fetch(answer['arrays'])
        except ProcessEndedError as error:
            raise DecoderFailedError(f'{self.path}: {error}') from error

    def close(self) -> None:
        """Close the file, at the latest when the next one is opened."""
        process, self._process = self._process, None
        if process is not None:
            process.dropped.append(self._number)

    def _look_up(self, name: str) -> Any:
        if name not in self._known:
            self._known[name] = self._ask('look_up', name=name)['value']
        return self._known[name]

    def _ask(self, what: str, **arguments: Any) -> dict:
        if self._process is None or not self._process.is_usable:
            raise UnreadableVideoError(
                f'{self.path}: its reader was closed, ended, or opened in '
                'another process'
            )
        request = dict(do=what, number=self._number, **arguments)
        start = time.monotonic()
        answer = _ask(
            self.path, self._process, request, self._left, self.time_limit
        )
        self._left -= time.monotonic() - start
        return answer

    def __del__(self) -> None:
        if getattr(self, '_process', None) is not None:
            self.close()


def supervise(
    reader: Callable[..., VideoReader], time_limit: float | None
) -> Callable[..., VideoReader]:
    """Let a reader work in a process of its own.

    Args:
        reader: What opens a file.
        time_limit: Seconds for one file; None: read in this process.

    Returns:
        What opens a file so, with the same arguments. On Windows, which lacks
        what it takes, the reader itself.
    """
    if time_limit is None or sys.platform == 'win32':
        return reader
    return partial(SupervisedReader, reader=reader, time_limit=time_limit)


def call_in_decoder_process(
    function: Callable[..., Any], path: str, time_limit: float
) -> Any:
    """Call a function with a path in the decoder process of this thread.

    Args:
        function: Returns what JSON can hold; imported by its name.
        path: The file.
        time_limit: Seconds that it may take.

    Returns:
        What the function returns. On Windows it is called in this process.

    Raises:
        DecoderFailedError: If it took too long or died.
        UnreadableVideoError: From the function.
    """
    if sys.platform == 'win32':
        return function(path)
    process = get_decoder_process()
    process.opened += 1
    request = dict(do='call', **_describe_callable(function))
    request['arguments'] = [path, *request['arguments']]
    return _ask(path, process, request, time_limit, time_limit)['value']


def _ask(
    path: str,
    process: DecoderProcess,
    request: dict,
    seconds: float,
    time_limit: float,
) -> dict:
    """Send a request about a file, and raise what went wrong there."""
    try:
        answer = process.ask(request, time.monotonic() + seconds)
    except TimeoutError as error:
        raise DecoderFailedError(
            f'{path}: gave up after {time_limit:g} s (time_limit)'
        ) from error
    except ProcessEndedError as error:
        raise DecoderFailedError(f'{path}: {error}') from error
    if 'unreadable' in answer:
        raise UnreadableVideoError(answer['unreadable'])
    if 'no_memory' in answer:
        raise UnreadableVideoError(f'{path}: not enough memory')
    if 'setup' in answer:
        raise SetupError(answer['setup'])
    if 'fault' in answer:
        raise RuntimeError(
            f'{path}: the reader failed in its process:\n{answer["fault"]}'
        )
    return answer


def _describe_callable(function: Callable[..., Any]) -> dict:
    """Describe how another process finds a class or a function."""
    whole = function if isinstance(function, partial) else partial(function)
    module = getattr(whole.func, '__module__', None)
    name = getattr(whole.func, '__qualname__', '<')
    if '<' in name or module in (None, '__main__'):
        raise ValueError(
            f'a decoder process cannot import {whole.func}: put it into a '
            'module, or set time_limit=None'
        )
    return dict(
        module=module,
        name=name,
        arguments=list(whole.args),
        options=dict(whole.keywords),
    )
