"""A reader in a process of its own, which can be ended at any time."""

import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from mmtvr.errors import SetupError
from mmtvr.video.decoder_process import (
    HelperEndedError,
    HelperProcess,
    get_helper,
)
from mmtvr.video.reader import UnreadableVideoError, VideoReader


class DecoderFailedError(UnreadableVideoError):
    """The decoder took too long over a file or died of it."""


def ask_about(
    path: str,
    helper: HelperProcess,
    request: dict,
    seconds: float,
    time_limit: float,
) -> dict:
    """Ask a helper about a file, and raise what went wrong there.

    Args:
        path: The file, for messages.
        helper: The helper.
        request: See :meth:`HelperProcess.ask`.
        seconds: How long to wait.
        time_limit: How long the work on this file may take in all.

    Returns:
        The answer.

    Raises:
        DecoderFailedError: If it took too long or died.
        UnreadableVideoError: If the file is unreadable.
        SetupError: If something is missing.
        RuntimeError: After any other error, with its traceback.
    """
    try:
        answer = helper.ask(request, time.monotonic() + seconds)
    except TimeoutError as error:
        raise DecoderFailedError(
            f'{path}: gave up after {time_limit:g} s (time_limit)'
        ) from error
    except HelperEndedError as error:
        raise DecoderFailedError(f'{path}: {error}') from error
    if 'unreadable' in answer:
        raise UnreadableVideoError(answer['unreadable'])
    if 'no_memory' in answer:
        raise UnreadableVideoError(f'{path}: not enough memory')
    if 'setup' in answer:
        raise SetupError(answer['setup'])
    if 'fault' in answer:
        raise RuntimeError(
            f'{path}: the reader failed in its helper process:\n'
            f'{answer["fault"]}'
        )
    return answer


def call_in_helper(
    function: Callable[..., Any], path: str, time_limit: float
) -> Any:
    """Let the helper of this thread look at a file in another way.

    Args:
        function: Takes the path and returns what JSON can hold; the helper
            imports it by its name.
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
    helper = get_helper()
    helper.opened += 1
    request = dict(do='call', **describe_reader(function))
    request['arguments'] = [path, *request['arguments']]
    return ask_about(path, helper, request, time_limit, time_limit)['value']


def describe_reader(reader: Callable[..., Any]) -> dict:
    """Say how a helper finds a reader or another function.

    Args:
        reader: A class or function, or a partial of one.

    Returns:
        Its ``module`` and ``name``, ``arguments`` and ``options``.

    Raises:
        ValueError: If it has no name in a module.
    """
    whole = reader if isinstance(reader, partial) else partial(reader)
    module = getattr(whole.func, '__module__', None)
    name = getattr(whole.func, '__qualname__', '<')
    if '<' in name or module in (None, '__main__'):
        raise ValueError(
            f'a helper process cannot import {whole.func}: put it into a '
            'module, or set time_limit=None'
        )
    return dict(
        module=module,
        name=name,
        arguments=list(whole.args),
        options=dict(whole.keywords),
    )


class SupervisedReader(VideoReader):
    """A video file opened by another reader, in the helper of this thread.

    Whatever the decoder does, this process goes on: one that takes too long
    is killed, one that dies takes its helper along, and the next file gets a
    new helper. Frames come through memory that both share.

    Args:
        path: The video file.
        short_side: See :class:`VideoReader`.
        reader: The class of the reader, or a :func:`functools.partial` of it;
            the helper imports it by its name, so no lambda and no class
            inside a function. Options must be what JSON can hold.
        time_limit: Seconds that all work on this file may take together.

    Raises:
        SetupError: From the reader, or if no helper can be started.
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
        self._helper: HelperProcess | None = None
        self._helper = get_helper()
        self._number = self._helper.opened = self._helper.opened + 1
        request = describe_reader(reader)
        request['arguments'] = [self.path, *request['arguments']]
        if short_side is not None:
            request['options']['short_side'] = short_side
        self._count = self._ask('open', **request)['count']

    def __len__(self) -> int:
        """Number of frames, at least one."""
        return self._count

    @property
    def original_shape(self) -> tuple[int, int]:
        """Height and width of the stored picture, as it is displayed."""
        height, width = self._look_up('original_shape')
        return height, width

    @property
    def fps(self) -> float:
        """Frames per second, on average; 0 where the file does not tell."""
        return self._look_up('fps')

    @property
    def codec(self) -> str:
        """FFmpeg's name of the format of the pictures."""
        return self._look_up('codec')

    @property
    def rotation(self) -> int:
        """Degrees, anticlockwise, by which stored pictures were turned."""
        return self._look_up('rotation')

    def get_frames(self, indices: Sequence[int]) -> np.ndarray:
        """Decode frames, see :class:`VideoReader`."""
        wanted = np.asarray(indices, np.int64).reshape(-1)
        different, places = np.unique(wanted, return_inverse=True)
        if len(different) < len(wanted):
            return self._ask_for_frames(different)[places]
        return self._ask_for_frames(wanted)

    def _ask_for_frames(self, indices: np.ndarray) -> np.ndarray:
        # Mostly wanted too, and each question costs two changes of process.
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
        """Tell when each frame is shown, see :class:`VideoReader`."""
        if self._times is None:
            (self._times,) = self._fetch(self._ask('times'))
        return self._times.copy()

    def _fetch(self, answer: dict) -> list[np.ndarray]:
        try:
            return self._helper.fetch(answer['arrays'])
        except HelperEndedError as error:
            raise DecoderFailedError(f'{self.path}: {error}') from error

    def close(self) -> None:
        """Let go of the file, at the latest when the next one is opened."""
        helper, self._helper = self._helper, None
        if helper is not None:
            helper.dropped.append(self._number)

    def _look_up(self, name: str) -> Any:
        if name not in self._known:
            self._known[name] = self._ask('look_up', name=name)['value']
        return self._known[name]

    def _ask(self, what: str, **arguments: Any) -> dict:
        if self._helper is None or not self._helper.is_usable:
            raise UnreadableVideoError(
                f'{self.path}: its reader was closed, ended, or opened in '
                'another process'
            )
        request = dict(do=what, number=self._number, **arguments)
        start = time.monotonic()
        answer = ask_about(
            self.path, self._helper, request, self._left, self.time_limit
        )
        self._left -= time.monotonic() - start
        return answer

    def __del__(self) -> None:
        if getattr(self, '_helper', None) is not None:
            self.close()


def supervise(
    reader: Callable[..., VideoReader], time_limit: float | None
) -> Callable[..., VideoReader]:
    """Let a reader work in a helper process.

    Args:
        reader: What opens a file.
        time_limit: Seconds for one file; None: read in this process.

    Returns:
        What opens a file so, with the same arguments. Where the system has
        none of what it takes (Windows), the reader itself.
    """
    if time_limit is None or sys.platform == 'win32':
        return reader
    return partial(SupervisedReader, reader=reader, time_limit=time_limit)
